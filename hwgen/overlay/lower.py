"""From a network to a program: operators become tiles of the engine's loops, tensors lie in the scratchpad by ILP."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np

from ..errors import HwgenError
from ..graph import Add, Concat, Conv, GlobalAveragePool, Graph, Linear, MaxPool, Node, Table
from .compiled import Compiled, Region, TensorStay
from .engine import Engine
from .exact import INSTEAD, Scales, Sums, scales_of, stored, sums_of, tables_of
from .isa import SCALE, Combine, Drain, End, FieldError, Instruction, Load, Multiply, Place, Pool, Store
from .places import Band, External, Placed, bands, fills, unplaced
from .schedule import schedule
from .tiles import Part, parts
from .timing import MemoryTiming, array_cycles, predict
from .tokens import with_tokens
from .transpose import transposed

__all__ = ["TILINGS", "Tiling", "compile_graph"]

BANDS = 4  #: rows at a time, of operators that follow no weighted sum


@dataclass(frozen=True, kw_only=True)
class Tiling:
    """How weighted sums are cut up.

    Parameters
    ----------
    share
        Positions of a band, in rows of the array.
    together
        Whether all parts of a band are made before the next one, where the memory holds all of their weights.
    """

    share: int
    together: bool


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
    if any(tensor.shape[0] != tensor.shape[1] for tensor in graph.tensors.values()):
        turned = transposed(graph)
        made, other = (_array_cycles(_Lowering(g, engine, TILINGS[0], False).compiled()) for g in (graph, turned))
        places = turned if other < made else graph
    programs = (_Lowering(places, engine, tiling, False).compiled() for tiling in TILINGS)
    ends = [predict(program.program, engine, memory)[-1] for program in programs]
    best = _Lowering(places, engine, TILINGS[ends.index(min(ends))], observe).compiled()
    return best if places is graph else _turned(best, graph)


class _Lowering:
    """The program so far."""

    def __init__(self, graph: Graph, engine: Engine, tiling: Tiling, observe: bool):
        self.graph, self.engine, self.tiling, self.observe = graph, engine, tiling, observe
        self.observed: dict[str, int] = {}
        self.coming: dict[str, int] = {}  # in external memory, wanted next; rows that have been read
        self.external = External()
        self.program: list[Instruction] = []
        self.next = {Place.WEIGHTS: 0, Place.SCALES: 0}  # where the next constants go
        self.sums = 0  # where the next band's go
        self.unplaced = {name: unplaced(graph, name) for name in graph.tensors}
        self.places: dict[str, tuple[Placed, int]] = {}
        self.names = list(self.unplaced)
        self.groups, self.schedule = schedule(graph, engine, self.unplaced)
        self.here: dict[str, Placed] = {}
        self.entered: dict[str, int] = {}  # instructions before what is here came
        self.stays: list[TensorStay] = []
        self.there: dict[str, int] = {}

    def compiled(self) -> Compiled:
        """Group by group, in the order of the schedule."""
        graph = self.graph
        self.there[graph.input] = self._room(graph.input)
        for step, number in enumerate(self.schedule.order):
            self._leave(step)
            for stay in self.schedule.stays:
                if stay.start == step:
                    self._enter(self.names[stay.tensor], stay.address * self.engine.banks)
            self._group(self.groups[number])
            for node in self.groups[number]:
                self.places[node.output] = self.here[node.output], len(self.program)
            if self.observe:
                for node in self.groups[number]:
                    self.observed[node.output] = self._room(node.output)
                    with _saying(f"tensor {node.output}"):
                        self._move(node.output, Store, self.observed[node.output], 0, self.here[node.output].shape[0])
        self._leave(len(self.schedule.order))
        self.program.append(End())
        return Compiled(
            engine=self.engine, program=with_tokens(self.program, self.engine), external=self.external.image(),
            transposed=False, input=self.there[graph.input], output=self.there[graph.output], places=self.places,
            stays=tuple(self.stays), regions=self._regions(),
        )  # fmt: skip

    def _regions(self) -> dict[str, Region]:
        ends = {name: self.there[name] for name in (self.graph.input, self.graph.output)}
        return {
            name: Region(
                address=address,
                shape=self.graph.tensors[name].shape,
                row=self._beats(name),
                less=stored(self.graph, name),
                transposed=False,
            )
            for name, address in (self.observed | ends).items()
        }

    def _enter(self, name: str, address: int) -> None:
        """Make room in the scratchpad, for what is in external memory too."""
        self.here[name] = replace(self.unplaced[name], address=address)
        self.entered[name] = len(self.program)
        if name in self.there:
            self.coming[name] = 0

    def _arrive(self, rows: int | None = None) -> None:
        """Read what the next operators want of external memory: up to so many rows, or all."""
        for name, done in list(self.coming.items()):
            place = self.here[name]
            until = min(place.shape[0], place.shape[0] if rows is None else rows)
            with _saying(f"tensor {name}"):
                if done == 0:
                    self.program += fills(place)
                if until > done:
                    self._move(name, Load, self.there[name], done, until)
            self.coming[name] = max(done, until)
            if self.coming[name] == place.shape[0]:
                del self.coming[name]
                self.places.setdefault(name, (place, len(self.program)))

    def _leave(self, step: int) -> None:
        """Write to external memory what leaves the scratchpad before ``step`` and is needed later."""
        for stay in self.schedule.stays:
            name = self.names[stay.tensor]
            again = any(s.tensor == stay.tensor and s.start >= step for s in self.schedule.stays)
            if stay.end == step:
                if name not in self.there and again:
                    self.there[name] = self._room(name)
                    with _saying(f"tensor {name}"):
                        self._move(name, Store, self.there[name], 0, self.here[name].shape[0])
                stop = len(self.program)
                self.stays.append(TensorStay(tensor=name, place=self.here.pop(name), first=self.entered[name], stop=stop))

    def _room(self, name: str) -> int:
        """The address of room in external memory."""
        return self.external.room(self.graph.tensors[name].shape[0] * self._beats(name))

    def _beats(self, name: str) -> int:
        """Bytes of a tensor's row in external memory."""
        _, width, channels = self.graph.tensors[name].shape
        return self.engine.padded(width * channels)

    def _move(self, name: str, how: type[Load] | type[Store], external: int, start: int, stop: int) -> None:
        """Rows from ``start`` until before ``stop``."""
        place = self.here[name]
        _, width, channels = place.shape
        self.program.append(
            how(
                external=external + start * self._beats(name),
                external_step=self._beats(name),
                local=place.at(start, 0),
                local_step=place.row,
                size=width * channels,
                rows=stop - start,
            )
        )

    def _group(self, nodes: list[Node]) -> None:
        """The first node, the others in step with its rows."""
        made = dict.fromkeys((node.output for node in nodes), 0)  # rows

        def on(node: Node, rows: int) -> None:
            before, made[node.output] = made[node.output], rows
            if not isinstance(node, Linear | GlobalAveragePool) and rows > before:
                with _saying(node.name):
                    self._vector(node, before, rows)
            if node.output == self.graph.output and rows > before:
                with _saying(f"tensor {node.output}"):
                    if before == 0:
                        self.there[node.output] = self._room(node.output)
                    self._move(node.output, Store, self.there[node.output], before, rows)

        first, *others = nodes
        if not isinstance(first, Linear | GlobalAveragePool):
            self._arrive()
            self._borders(nodes)
        with _saying(first.name):
            for rows in self._rows_of(nodes):
                on(first, rows)
                for node, before in zip(others, nodes, strict=False):
                    on(node, _ready(node, made[before.output], self.graph))

    def _borders(self, nodes: list[Node]) -> None:
        """Around the outputs. What is made in them would have to wait, and so would what is loaded for the first of it."""
        for node in nodes:
            with _saying(f"tensor {node.output}"):
                self.program += fills(self.here[node.output])

    def _rows_of(self, nodes: list[Node]) -> Iterator[int]:
        """Rows of the first node's output that are complete, now and then."""
        node = nodes[0]
        match node:
            case Linear() | GlobalAveragePool():
                yield from self._linear(node, nodes)
            case Add() | Table() | MaxPool() | Concat():
                height = self.graph.tensors[node.output].shape[0]
                yield from range(min(height, BANDS), height, BANDS)
                yield height
            case _:
                raise HwgenError(f"{node.name}: the overlay has no {type(node).__name__}; {INSTEAD}")

    def _vector(self, node: Node, start: int, stop: int) -> None:
        """Rows from ``start`` until before ``stop``."""
        match node:
            case Add() | Table():
                self._combine(node, start, stop)
            case MaxPool():
                top, left, _, _ = node.pads
                self._pool(node, node.inputs[0], node.kernel, node.strides, node.dilations, (-top, -left), 0, start, stop)
            case Concat():
                channel = 0
                for name in node.inputs:
                    self._pool(node, name, (1, 1), (1, 1), (1, 1), (0, 0), channel, start, stop)
                    channel += self.graph.tensors[name].shape[2]

    # Weighted sums

    def _linear(self, node: Linear | GlobalAveragePool, nodes: list[Node]) -> Iterator[int]:
        sums = sums_of(node, self.graph)
        target = self.here[node.output]
        made = list(parts(node, sums, self.here[node.inputs[0]], self.engine))
        exact = [scales_of(sums, part.first, part.count, self.engine) for part in made]
        self._together(Place.SCALES, sum(map(self._of_lanes, exact)), self.engine.scales)
        starts: list[tuple[int, int]] = []  # of the weights and scales of each part
        source = self.here[node.inputs[0]]
        for band, number in self._order(target, made):
            part, scales = made[number], exact[number]
            if number == len(starts):
                same = number and np.array_equal(part.weights, made[number - 1].weights)
                weights = starts[-1][0] if same else self._load(node, Place.WEIGHTS, part.weights.view(np.uint8))
            if number == 0:
                self._arrive(_rows_for(node, band, source))
            if number == len(starts):
                starts.append((weights, self._load_scales(node, scales)))
                if number == 0:
                    self._borders(nodes)
            self._band(node, sums, part, scales, band, *starts[number])
            if number == len(made) - 1 and band.x + band.width == target.shape[1]:
                yield band.y + band.height
        self._arrive()

    def _order(self, target: Placed, made: list[Part]) -> Iterator[tuple[Band, int]]:
        """Bands and parts: all parts of a band where the memory holds all of their weights, else all bands of a part."""
        share = self.engine.entries_of(Place.WEIGHTS)
        entries = sum(-(-len(part.weights) // share) * share for part in made)
        size = self.tiling.share * self.engine.rows
        if self.tiling.together and self._together(Place.WEIGHTS, entries, self.engine.weights):
            for band in bands(target, self.engine, size):
                yield from ((band, number) for number in range(len(made)))
        else:
            for number in range(len(made)):
                yield from ((band, number) for band in bands(target, self.engine, size))

    def _band(
        self, node: Linear | GlobalAveragePool, sums: Sums, part: Part, scale: Scales, band: Band, weights: int, scales: int
    ) -> None:
        """Make sums, and outputs of them; ``weights``, ``scales``: first entries."""
        source, target = self.here[node.inputs[0]], self.here[node.output]
        first = self._sums(band.height * band.width)
        start = source.at(part.origin[0] + band.y * part.strides[0], part.origin[1] + band.x * part.strides[1], part.channel)
        multiply = replace(
            part.loops, source=start, x_count=band.width, x_step=part.x_step, y_count=band.height,
            y_step=part.strides[0] * source.row, weights=weights, sums=first, first=1,
        )  # fmt: skip
        self.program.append(multiply)
        self.program.append(
            Drain(
                sums=first,
                target=target.at(band.y, band.x, part.first),
                x_count=band.width,
                x_step=target.shape[2],
                y_count=band.height,
                y_step=target.row,
                channels=part.count,
                scales=scales,
                steps=scale.steps,
                shift=scale.shift,
                zero=sums.zero,
                lo=sums.lo,
                hi=sums.hi,
            )
        )

    def _sums(self, count: int) -> int:
        """The first entry of so many, behind the last ones."""
        start = self.sums if self.sums + count <= self.engine.sums else 0
        self.sums = start + count
        return start

    def _together(self, place: Place, count: int, entries: int) -> bool:
        """Begin at the memory's first entry where so many would not fit behind the last ones; whether they do now."""
        if self.next[place] + count > entries:
            self.next[place] = 0
        return count <= entries

    def _load(self, node: Node, place: Place, content: np.ndarray) -> int:
        """Bring constants (entries, bytes) into a memory, behind the last ones; the first one's number."""
        entries = self.engine.weights if place == Place.WEIGHTS else self.engine.scales
        share = self.engine.entries_of(place)
        size = -(-len(content) // share) * share
        if size > entries:
            raise HwgenError(
                f"{node.name}: {size} entries of {place.name.lower()} do not fit into the engine's {entries}; "
                "choose an engine with more"
            )
        first = self.next[place] if self.next[place] + size <= entries else 0
        self.next[place] = first + size
        external = self.engine.laid_out(place, content)
        self.program.append(Load(place=place, external=self.external.put(external), local=first, size=external.nbytes))
        return first

    def _load_scales(self, node: Node, scales: Scales) -> int:
        """Those of a part, up to whole words of the lanes."""
        content = np.zeros(self._of_lanes(scales), SCALE)
        content["mult"][: len(scales.mult)], content["offset"][: len(scales.mult)] = scales.mult, scales.offset
        return self._load(node, Place.SCALES, content.view(np.uint8).reshape(-1, SCALE.itemsize))

    def _of_lanes(self, scales: Scales) -> int:
        """Scales of a part, up to whole words of the lanes."""
        return -(-len(scales.mult) // self.engine.lanes) * self.engine.lanes

    # The rest

    def _load_tables(self, node: Add | Table) -> None:
        tables = tables_of(node, self.graph)
        entries = np.concatenate([tables.a, tables.b]).astype("<i4").view(np.uint8).reshape(-1, 4)
        content = self.engine.laid_out(Place.TABLES, entries)
        self.program.append(Load(place=Place.TABLES, external=self.external.put(content), size=content.nbytes))

    def _combine(self, node: Add | Table, start: int, stop: int) -> None:
        if start == 0:
            self._load_tables(node)
        tables = tables_of(node, self.graph)
        first, second, target = (self.here[name] for name in (node.inputs[0], node.inputs[-1], node.output))
        _, width, channels = target.shape
        self.program.append(
            Combine(
                source0=first.at(start, 0),
                source1=second.at(start, 0),
                target=target.at(start, 0),
                x_count=width * channels,
                y_count=stop - start,
                y_step0=first.row,
                y_step1=second.row,
                y_step=target.row,
                single=int(isinstance(node, Table)),
                shift=tables.shift,
                window=tables.window + 1,
                odd=tables.odd,
                lo=tables.lo,
                hi=tables.hi,
            )
        )

    def _pool(
        self, node: Node, source: str, kernel: tuple[int, int], strides: tuple[int, int], dilations: tuple[int, int],
        origin: tuple[int, int], channel: int, start: int, stop: int,
    ) -> None:  # fmt: skip
        """The maximum over windows into channels from ``channel`` on, for some rows."""
        stored(self.graph, source)
        here, there = self.here[source], self.here[node.output]
        _, width, _ = there.shape
        channels = here.shape[2]
        self.program.append(
            Pool(
                source=here.at(origin[0] + start * strides[0], origin[1]),
                target=there.at(start, 0, channel),
                channels=channels,
                x_count=width,
                y_count=stop - start,
                x_step=strides[1] * channels,
                y_step=strides[0] * here.row,
                kernel_x=kernel[1],
                kernel_y=kernel[0],
                kernel_x_step=dilations[1] * channels,
                kernel_y_step=dilations[0] * here.row,
                target_x_step=there.shape[2],
                target_y_step=there.row,
            )
        )


def _turned(compiled: Compiled, graph: Graph) -> Compiled:
    """Of the transposed network: the network's tensors again."""
    regions = {n: replace(r, shape=graph.tensors[n].shape, transposed=True) for n, r in compiled.regions.items()}
    return replace(compiled, transposed=True, regions=regions)


def _array_cycles(compiled: Compiled) -> int:
    """Cycles in which the array is at work."""
    return sum(array_cycles(i, compiled.engine) for i in compiled.program if isinstance(i, Multiply))


def _rows_for(node: Linear | GlobalAveragePool, band: Band, source: Placed) -> int:
    """Rows of the input that a band's sums are made of, and those before."""
    if not isinstance(node, Conv):
        return source.shape[0]
    return (band.y + band.height - 1) * node.strides[0] - node.pads[0] + (node.kernel[0] - 1) * node.dilations[0] + 1


def _ready(node: Node, rows: int, graph: Graph) -> int:
    """Rows of the output that can be made of the first ``rows`` of the input."""
    height = graph.tensors[node.output].shape[0]
    if not isinstance(node, MaxPool):
        return rows
    if rows == graph.tensors[node.inputs[0]].shape[0]:
        return height
    beyond = (node.kernel[0] - 1) * node.dilations[0] - node.pads[0]  # the last row of the first window
    return min(height, max(0, (rows - 1 - beyond) // node.strides[0] + 1))


@contextmanager
def _saying(what: str) -> Iterator[None]:
    """Name what an instruction is for that has no room for a number."""
    try:
        yield
    except FieldError as error:
        raise HwgenError(f"{what}: {error}; {INSTEAD}") from None
