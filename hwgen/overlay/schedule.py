"""When each tensor lies where in the scratchpad.

Operators that follow a weighted sum in the vector unit work on its rows as they come, so that the array goes on meanwhile:
such a group is one operator here.
"""

from dataclasses import dataclass
from itertools import pairwise

from ..errors import HwgenError
from ..graph import Add, Graph, MatMul, MaxPool, Node, Softmax, Table
from ..ilp.scratchpad import InfeasibleError, Operator, Problem, Schedule, Tensor, solve
from .engine import Engine
from .places import Placed
from .staging import Staging
from .streams import Stream, needed, stream_of

__all__ = ["Arrangement", "arrangement", "groups", "in_place", "schedule"]

SECONDS = 5  #: deterministic time limit
SPARE = 2  #: words at the end of the scratchpad


def groups(graph: Graph) -> list[list[Node]]:
    """The nodes in order, each with those right behind it that can follow its rows."""
    found: list[list[Node]] = []
    for node in graph.nodes:
        if found and found[-1][-1].output in node.inputs and _follows(node, found[-1]):
            found[-1].append(node)
        else:
            found.append([node])
    return found


def _follows(node: Node, group: list[Node]) -> bool:
    """Whether it can work on rows as they come. There is room for the tables of one operator."""
    if isinstance(node, Add | Table):
        return not any(isinstance(before, Add | Softmax | Table) for before in group)
    return isinstance(node, MaxPool)


def in_place(together: list[list[Node]], graph: Graph) -> dict[str, str]:
    """Tensors that lie where another one does, whose name follows: an element of theirs is not needed once that one's is made.

    They are what an addition, or a function of one element, takes from the node before it in its group, and no other reads.
    """
    return {
        before.output: node.output
        for nodes in together
        for before, node in pairwise(nodes)
        if isinstance(node, Add | Table) and graph.consumers(before.output) == (node,)
    }


def schedule(graph: Graph, engine: Engine, places: dict[str, Placed], shared: bool = True) -> tuple[list[list[Node]], Schedule]:
    """Operators, and the schedule with the least traffic, in words of the banks, tensors numbered as in ``places``.

    Groups, or single nodes where groups need more room than there is; ``HwgenError`` where these do.

    Parameters
    ----------
    shared
        Whether tensors of groups that can lie in the same place do.
    """
    together = groups(graph)
    try:
        return together, _solved(together, graph, engine, places, shared=shared)
    except HwgenError:
        alone = [[node] for node in graph.nodes]
        return alone, _solved(alone, graph, engine, places)


@dataclass(frozen=True, kw_only=True)
class Arrangement:
    """A schedule, and what it is of.

    Parameters
    ----------
    groups
        Operators: nodes that are carried out in step.
    names
        Of the schedule's tensors; of buffers what uses them.
    streams
        By the names of nodes: of those whose tensors pass through the scratchpad.
    shared
        Tensors that are not among them, as they lie where another one does: see :func:`in_place`.
    """

    groups: list[list[Node]]
    schedule: Schedule
    names: list[str | Stream | Staging]
    streams: dict[str, Stream]
    shared: dict[str, str]

    @property
    def outside(self) -> set[str]:
        """Tensors that never lie in the scratchpad as a whole."""
        return {name for stream in self.streams.values() for name in stream.outside}

    def moved(self, engine: Engine) -> int:
        """Bytes beyond those that move in any case."""
        return self.schedule.external_bytes * engine.banks + sum(stream.moved for stream in self.streams.values())


def arrangement(graph: Graph, engine: Engine, places: dict[str, Placed], shared: bool = True) -> Arrangement:
    """As :func:`schedule`, and where not even single nodes find room, the largest tensors pass through in bands.

    ``HwgenError`` where the scratchpad does not even hold a band of one row.
    """
    try:
        together, found = schedule(graph, engine, places, shared)
    except HwgenError:
        return _in_bands(graph, engine, places)
    others = in_place(together, graph) if shared else {}
    names: list[str | Stream | Staging] = [name for name in places if name not in others]
    return Arrangement(groups=together, schedule=found, names=[*names, *_stagings(graph, engine)], streams={}, shared=others)


def _stagings(graph: Graph, engine: Engine) -> list[Staging]:
    """What products of two activations need besides these."""
    return [Staging(graph, engine, node) for node in graph.nodes if isinstance(node, MatMul)]


def _in_bands(graph: Graph, engine: Engine, places: dict[str, Placed]) -> Arrangement:
    sizes = {name: _words(place.size, engine) * engine.banks for name, place in places.items()}
    budget = _budget(engine) * engine.banks
    outside: set[str] = set()
    streams: dict[str, Stream] = {}
    while (node := _without_room(graph, engine, sizes, budget, outside, streams)) is not None:
        within = [name for name in dict.fromkeys((*node.inputs, node.output)) if name not in outside]
        if not within:
            bytes_of = {n.name: needed(graph, engine, n, tuple(dict.fromkeys((*n.inputs, n.output)))) for n in graph.nodes}
            worst = max(bytes_of, key=lambda name: bytes_of[name])
            raise HwgenError(
                f"{worst}: a row of its output and what it is made of take {bytes_of[worst] + SPARE * engine.banks} bytes with "
                f"borders and spare ones, and the scratchpad has {engine.scratchpad}; choose a larger one"
            )
        # The network's input and output move in any case.
        largest = max(sizes[name] for name in within)
        free = {graph.input, graph.output}
        outside.add(max(within, key=lambda name: (name in free and 2 * sizes[name] >= largest, sizes[name])))
    inside = {name: place for name, place in places.items() if name not in outside}
    made: list[list[Node]] = []
    for nodes in groups(graph):
        names = {name for node in nodes for name in (*node.inputs, node.output)}
        apart = any(node.name in streams for node in nodes) or sum(sizes[name] for name in names) > budget
        made += [[node] for node in nodes] if apart else [nodes]
    found = _solved(made, graph, engine, inside, streams)
    users: list[str | Stream | Staging] = [*_stagings(graph, engine), *streams.values()]
    return Arrangement(groups=made, schedule=found, names=[*inside, *users], streams=streams, shared={})


def _without_room(
    graph: Graph, engine: Engine, sizes: dict[str, int], budget: int, outside: set[str], streams: dict[str, Stream]
) -> Node | None:
    """The first node that the scratchpad has no room for; makes the streams of all others."""
    streams.clear()
    for step, node in enumerate(graph.nodes):
        names = dict.fromkeys((*node.inputs, node.output))
        room = budget - sum(sizes[name] for name in names if name not in outside)
        passing = tuple(name for name in names if name in outside)
        if isinstance(node, MatMul):
            staging = _words(Staging(graph, engine, node).bytes, engine) * engine.banks
            if passing or room < staging:
                whole = staging + sum(sizes[name] for name in names) + SPARE * engine.banks
                raise HwgenError(
                    f"{node.name}: its operands and output lie in the scratchpad as a whole, {whole} bytes with borders, spare "
                    f"ones and tiles of the second one, and it has {engine.scratchpad}; choose a larger one"
                )
        if passing:
            past = {graph.input, *(n.output for n in graph.nodes[:step])}
            wanted = {name for n in graph.nodes[step + 1 :] for name in n.inputs}
            alive = sum(sizes[name] for name in (past & wanted) - outside - set(names))
            stream = stream_of(graph, engine, node, passing, room, alive)
            if stream is not None:
                streams[node.name] = stream
                continue
        if passing or room < 0:
            return node
    return None


def _words(size: int, engine: Engine) -> int:
    return -(-size // engine.banks)


def _budget(engine: Engine) -> int:
    """Words of the banks; tiles may read beyond a tensor's end."""
    return max(1, (engine.scratchpad - SPARE * engine.banks) // engine.banks)


def _solved(
    together: list[list[Node]],
    graph: Graph,
    engine: Engine,
    places: dict[str, Placed],
    streams: dict[str, Stream] | None = None,
    shared: bool = False,
) -> Schedule:
    """Tensors numbered as in ``places``, without those that lie where another one does; behind them the buffers of products
    and ``streams``.
    """
    others = in_place(together, graph) if shared else {}
    number = {name: k for k, name in enumerate(name for name in places if name not in others)}
    users: list[Stream | Staging] = [*_stagings(graph, engine), *(streams or {}).values()]
    buffers = {user.node.name: len(number) + k for k, user in enumerate(users)}
    tensors = [
        Tensor(size=_words(places[name].size, engine), external=name == graph.input, output=name == graph.output)
        for name in number
    ]
    number |= {name: number[other] for name, other in others.items()}
    tensors += [Tensor(size=_words(user.bytes, engine)) for user in users]
    operators = []
    for nodes in together:
        made = tuple(dict.fromkeys(number[node.output] for node in nodes if node.output in number))
        own = tuple(buffers[node.name] for node in nodes if node.name in buffers)
        used = dict.fromkeys(number[i] for node in nodes for i in node.inputs if i in number)
        operators.append(Operator(inputs=tuple(t for t in used if t not in made), outputs=made + own))
    try:
        return solve(Problem(tensors=tuple(tensors), operators=tuple(operators), budget=_budget(engine)), SECONDS)
    except InfeasibleError as error:
        node, size = together[error.operator][0], (error.needed + SPARE) * engine.banks
        raise HwgenError(
            f"{node.name}: its inputs and output take {size} bytes with borders and {SPARE * engine.banks} spare ones, and the "
            f"scratchpad has {engine.scratchpad}; choose a larger one"
        ) from None
