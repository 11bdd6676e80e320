"""When each tensor lies where in the scratchpad.

Operators that follow a weighted sum in the vector unit work on its rows as they come, so that the array goes on meanwhile:
such a group is one operator here.
"""

from ..errors import HwgenError
from ..graph import Add, Graph, MaxPool, Node, Table
from ..ilp.scratchpad import InfeasibleError, Operator, Problem, Schedule, Tensor, solve
from .engine import Engine
from .places import Placed

__all__ = ["groups", "schedule"]

SECONDS = 5  #: deterministic time limit


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
        return not any(isinstance(before, Add | Table) for before in group)
    return isinstance(node, MaxPool)


def schedule(graph: Graph, engine: Engine, places: dict[str, Placed]) -> tuple[list[list[Node]], Schedule]:
    """Operators, and the schedule with the least traffic, in words of the banks, tensors numbered as in ``places``.

    Groups, or single nodes where groups need more room than there is; ``HwgenError`` where these do.
    """
    together = groups(graph)
    try:
        return together, _solved(together, graph, engine, places)
    except HwgenError:
        alone = [[node] for node in graph.nodes]
        return alone, _solved(alone, graph, engine, places)


def _solved(together: list[list[Node]], graph: Graph, engine: Engine, places: dict[str, Placed]) -> Schedule:
    banks = engine.banks
    number = {name: k for k, name in enumerate(places)}
    tensors = tuple(
        Tensor(size=-(-place.size // banks), external=name == graph.input, output=name == graph.output)
        for name, place in places.items()
    )
    operators = []
    for nodes in together:
        made = tuple(number[node.output] for node in nodes)
        used = dict.fromkeys(number[i] for node in nodes for i in node.inputs)
        operators.append(Operator(inputs=tuple(t for t in used if t not in made), outputs=made))
    spare = 2 * banks  # tiles may read beyond a tensor's end
    budget = max(1, (engine.scratchpad - spare) // banks)
    try:
        return solve(Problem(tensors=tensors, operators=tuple(operators), budget=budget), SECONDS)
    except InfeasibleError as error:
        node, needed = together[error.operator][0], error.needed * banks + spare
        raise HwgenError(
            f"{node.name}: its inputs and output take {needed} bytes with borders and {spare} spare ones, and the "
            f"scratchpad has {engine.scratchpad}; choose a larger one"
        ) from None
