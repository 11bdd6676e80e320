"""From a network to a program: operators become tiles of the engine's loops, tensors lie in the scratchpad by ILP."""

from collections.abc import Iterator
from dataclasses import replace

from ..errors import HwgenError
from ..graph import AveragePool, GlobalAveragePool, Graph, Linear, MatMul, MaxPool, Node
from .clock import predict
from .compiled import Compiled, Region, TensorStay
from .engine import Engine
from .exact import lacking, stored
from .isa import End, Load, Multiply, Store
from .operators.average import WindowAverages
from .operators.linear import WeightedSums
from .operators.product import Product
from .operators.vector import VECTOR, vector_rows
from .places import Placed, fills, unplaced
from .schedule import arrangement
from .staging import Staging
from .streaming import streamed
from .streams import Stream
from .timing import MemoryTiming, array_cycles
from .tokens import with_tokens
from .transpose import transposable, transposed
from .writer import Tiling, Writer, saying

__all__ = ["TILINGS", "Tiling", "compile_graph"]

BANDS = 4  #: rows at a time, of operators that follow no weighted sum
TILINGS = tuple(Tiling(share=share, together=together) for together in (True, False) for share in (3, 2, 4))
USUAL = MemoryTiming()


def compile_graph(graph: Graph, engine: Engine, observe: bool = False, memory: MemoryTiming = USUAL) -> Compiled:
    """A program for one frame: of several tilings the one with the fewest predicted cycles.

    Parameters
    ----------
    observe
        Write every tensor to external memory when it has been made.
    memory
        For which the tiling is chosen.

    Raises
    ------
    HwgenError
        An operator that the engine lacks, or one that does not fit into its memories; says which, and what it needs.
    """
    places = graph
    if transposable(graph):
        places = _better([graph, transposed(graph)], engine, memory)
    programs = (_Lowering(places, engine, tiling, False).compiled() for tiling in TILINGS)
    ends = [predict(program.program, engine, memory)[-1] for program in programs]
    best = _Lowering(places, engine, TILINGS[ends.index(min(ends))], observe).compiled()
    return best if places is graph else _turned(best, graph)


def _better(graphs: list[Graph], engine: Engine, memory: MemoryTiming) -> Graph:
    """That with the fewest cycles of the array, or of all where tensors go through the scratchpad in bands."""
    made: list[tuple[Graph, _Lowering, Compiled]] = []
    refused: list[HwgenError] = []
    for graph in graphs:
        try:
            lowering = _Lowering(graph, engine, TILINGS[0], False)
            made.append((graph, lowering, lowering.compiled()))
        except HwgenError as error:
            refused.append(error)
    if not made:
        raise refused[0]
    if any(lowering.plan.streams for _, lowering, _ in made):
        cycles = [predict(compiled.program, engine, memory)[-1] for _, _, compiled in made]
    else:
        cycles = [_array_cycles(compiled) for _, _, compiled in made]
    return made[cycles.index(min(cycles))][0]


class _Lowering:
    """The program so far."""

    def __init__(self, graph: Graph, engine: Engine, tiling: Tiling, observe: bool):
        self.graph, self.engine, self.observe = graph, engine, observe
        self.observed: dict[str, int] = {}
        self.coming: dict[str, int] = {}  # in external memory, wanted next; rows that have been read
        self.w = Writer(graph, engine, tiling)
        self.unplaced = {name: unplaced(graph, name) for name in graph.tensors}
        self.places: dict[str, tuple[Placed | None, int]] = {}
        self.plan = arrangement(graph, engine, self.unplaced, shared=not observe)
        self.unplaced |= {name: self.unplaced[other] for name, other in self.plan.shared.items()}
        self.schedule, self.outside = self.plan.schedule, self.plan.outside
        self.entered: dict[str, int] = {}  # instructions before what is here came
        self.buffers: dict[str, int] = {}  # addresses, by the names of nodes
        self.stays: list[TensorStay] = []
        self.there: dict[str, int] = {}

    def compiled(self) -> Compiled:
        """Group by group, in the order of the schedule."""
        graph = self.graph
        self.there[graph.input] = self.w.room(graph.input)
        if graph.input in self.outside:
            self.places[graph.input] = None, 0
        for step, number in enumerate(self.schedule.order):
            self._leave(step)
            for stay in self.schedule.stays:
                if stay.start == step:
                    self._enter(self.plan.names[stay.tensor], stay.address * self.engine.banks)
            nodes = self.plan.groups[number]
            if nodes[0].name in self.plan.streams:
                self._stream(self.plan.streams[nodes[0].name])
            else:
                self._group(nodes)
            for node in nodes:
                self.places[node.output] = self.w.here.get(node.output), len(self.w.program)
            if self.observe:
                for node in (node for node in nodes if node.output not in self.outside):
                    self.observed[node.output] = self.w.room(node.output)
                    with saying(f"tensor {node.output}"):
                        place = self.w.here[node.output]
                        self.w.move(node.output, place, Store, self.observed[node.output], 0, place.shape[0])
        self._leave(len(self.schedule.order))
        self.w.program.append(End())
        return Compiled(
            engine=self.engine, program=with_tokens(self.w.program, self.engine), external=self.w.external.image(),
            transposed=False, input=self.there[graph.input], output=self.there[graph.output], places=self.places,
            overwritten=frozenset(self.plan.shared), stays=tuple(self.stays), regions=self._regions(),
        )  # fmt: skip

    def _regions(self) -> dict[str, Region]:
        ends = {name: self.there[name] for name in (self.graph.input, self.graph.output, *sorted(self.outside))}
        return {
            name: Region(
                address=address,
                shape=self.graph.tensors[name].shape,
                row=self.w.beats(name),
                less=stored(self.graph, name),
                transposed=False,
            )
            for name, address in (self.observed | ends).items()
        }

    def _enter(self, name: str | Stream | Staging, address: int) -> None:
        """Make room in the scratchpad, for what is in external memory too."""
        if not isinstance(name, str):
            self.buffers[name.node.name] = address
            self.entered[name.node.name] = len(self.w.program)
            return
        for tensor in (name, *self._in_its_place(name)):
            self.w.here[tensor] = replace(self.unplaced[tensor], address=address)
        self.entered[name] = len(self.w.program)
        if name in self.there:
            self.coming[name] = 0
            if name == self.graph.input:  # nothing was there: the first weights come meanwhile
                with saying(f"tensor {name}"):
                    self.w.program += fills(self.w.here[name])

    def _arrive(self, rows: int | None = None) -> None:
        """Read what the next operators want of external memory: up to so many rows, or all."""
        for name, done in list(self.coming.items()):
            place = self.w.here[name]
            until = min(place.shape[0], place.shape[0] if rows is None else rows)
            with saying(f"tensor {name}"):
                if done == 0 and name != self.graph.input:
                    self.w.program += fills(place)
                if until > done:
                    self.w.move(name, place, Load, self.there[name], done, until)
            self.coming[name] = max(done, until)
            if self.coming[name] == place.shape[0]:
                del self.coming[name]
                self.places.setdefault(name, (place, len(self.w.program)))

    def _leave(self, step: int) -> None:
        """Write to external memory what leaves the scratchpad before ``step`` and is needed later."""
        for stay in self.schedule.stays:
            name = self.plan.names[stay.tensor]
            if not isinstance(name, str):
                if stay.end == step:
                    self._free(name)
                continue
            again = any(s.tensor == stay.tensor and s.start >= step for s in self.schedule.stays)
            if stay.end == step:
                if name not in self.there and again:
                    self.there[name] = self.w.room(name)
                    with saying(f"tensor {name}"):
                        self.w.move(name, self.w.here[name], Store, self.there[name], 0, self.w.here[name].shape[0])
                for other in self._in_its_place(name):
                    del self.w.here[other]
                stop = len(self.w.program)
                self.stays.append(TensorStay(tensor=name, place=self.w.here.pop(name), first=self.entered[name], stop=stop))

    def _in_its_place(self, name: str) -> list[str]:
        """Tensors that lie where this one does."""
        return [tensor for tensor, other in self.plan.shared.items() if other == name]

    def _free(self, user: Stream | Staging) -> None:
        """The buffers are not needed any more."""
        node = user.node
        place = Placed(address=self.buffers[node.name], shape=(1, 1, user.bytes), border=(0, 0, 0, 0), fill=0)
        self.stays.append(TensorStay(tensor=node.output, place=place, first=self.entered[node.name], stop=len(self.w.program)))

    def _stream(self, stream: Stream) -> None:
        """An operator whose tensors pass through the scratchpad."""
        self._arrive()
        output = stream.node.output
        if output in self.outside or output == self.graph.output:
            self.there[output] = self.w.room(output)
        streamed(self.w, stream, self.buffers[stream.node.name], self.there)

    def _group(self, nodes: list[Node]) -> None:
        """The first node, the others in step with its rows."""
        made = dict.fromkeys((node.output for node in nodes), 0)  # rows

        def on(node: Node, rows: int) -> None:
            before, made[node.output] = made[node.output], rows
            if isinstance(node, VECTOR) and rows > before:
                with saying(node.name):
                    vector_rows(self.w, node, before, rows)
            if node.output == self.graph.output and rows > before:
                with saying(f"tensor {node.output}"):
                    if before == 0:
                        self.there[node.output] = self.w.room(node.output)
                    self.w.move(node.output, self.w.here[node.output], Store, self.there[node.output], before, rows)

        first, *others = nodes
        if not isinstance(first, Linear | GlobalAveragePool):
            self._arrive()
            self._borders(nodes)
        with saying(first.name):
            for rows in self._rows_of(nodes):
                on(first, rows)
                for node, before in zip(others, nodes, strict=False):
                    on(node, _ready(node, made[before.output], self.graph))

    def _borders(self, nodes: list[Node]) -> None:
        """Around the outputs. What is made in them would have to wait, and so would what is loaded for the first of it."""
        for node in (node for node in nodes if node.output not in self.plan.shared):
            with saying(f"tensor {node.output}"):
                self.w.program += fills(self.w.here[node.output])

    def _rows_of(self, nodes: list[Node]) -> Iterator[int]:
        """Rows of the first node's output that are complete, now and then."""
        node = nodes[0]
        match node:
            case Linear() | GlobalAveragePool():
                yield from WeightedSums(self.w, node).rows(self._arrive, lambda: self._borders(nodes))
            case MatMul():
                yield from Product(self.w, Staging(self.graph, self.engine, node), self.buffers[node.name]).rows()
            case AveragePool():
                height = self.graph.tensors[node.output].shape[0]
                WindowAverages(self.w, node).some_rows(0, height)
                yield height
            case _ if isinstance(node, VECTOR):
                height = self.graph.tensors[node.output].shape[0]
                yield from range(min(height, BANDS), height, BANDS)
                yield height
            case _:
                raise HwgenError(lacking(node))


def _turned(compiled: Compiled, graph: Graph) -> Compiled:
    """Of the transposed network: the network's tensors again."""
    regions = {n: replace(r, shape=graph.tensors[n].shape, transposed=True) for n, r in compiled.regions.items()}
    return replace(compiled, transposed=True, regions=regions)


def _array_cycles(compiled: Compiled) -> int:
    """Cycles in which the array is at work."""
    return sum(array_cycles(i, compiled.engine) for i in compiled.program if isinstance(i, Multiply))


def _ready(node: Node, rows: int, graph: Graph) -> int:
    """Rows of the output that can be made of the first ``rows`` of the input."""
    height = graph.tensors[node.output].shape[0]
    if not isinstance(node, MaxPool):
        return rows
    if rows == graph.tensors[node.inputs[0]].shape[0]:
        return height
    beyond = (node.kernel[0] - 1) * node.dilations[0] - node.pads[0]  # the last row of the first window
    return min(height, max(0, (rows - 1 - beyond) // node.strides[0] + 1))
