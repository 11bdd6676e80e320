"""From a network to a program: operators become tiles of the engine's loops, tensors lie in the scratchpad by ILP."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..errors import HwgenError
from ..graph import Add, Concat, Conv, Dense, GlobalAveragePool, Graph, Linear, MaxPool, Node, Table
from ..ilp.scratchpad import InfeasibleError, Operator, Problem, Schedule, Tensor, solve
from .engine import Engine
from .exact import Sums, sums_of, tables_of
from .isa import Combine, Drain, End, Fill, Instruction, Load, Multiply, Place, Pool, Store
from .tokens import with_tokens

__all__ = ["Compiled", "Placed", "compile_graph"]

SECONDS = 5  #: deterministic time limit of the schedule
BEGIN = 64  #: alignment in external memory


@dataclass(frozen=True, kw_only=True)
class Placed:
    """Where a tensor lies: rows of pixels of ``channels`` bytes, in a border of ``fill``.

    Parameters
    ----------
    address
        Of the border's first byte in the scratchpad.
    shape
        (H, W, C) without border.
    border
        (top, left, bottom, right) pixels.
    """

    address: int
    shape: tuple[int, int, int]
    border: tuple[int, int, int, int]
    fill: int

    @property
    def row(self) -> int:
        """Bytes from row to row."""
        return (self.shape[1] + self.border[1] + self.border[3]) * self.shape[2]

    @property
    def size(self) -> int:
        return (self.shape[0] + self.border[0] + self.border[2]) * self.row

    def at(self, y: int, x: int, channel: int = 0) -> int:
        """Address of an element; outside 0..H-1, 0..W-1 of one in the border."""
        return self.address + (y + self.border[0]) * self.row + (x + self.border[1]) * self.shape[2] + channel


@dataclass(frozen=True, kw_only=True, eq=False)
class Compiled:
    """A program, and the external memory that it begins with.

    Parameters
    ----------
    external
        Bytes: constants, and room for input, output and spills.
    input, output
        Their addresses there: (H, W, C) bytes without border, rows padded to whole beats of the bus.
    places
        Of each tensor when it has just been made, and the number of instructions by then.
    """

    engine: Engine
    program: list[Instruction]
    external: np.ndarray
    input: int
    output: int
    places: dict[str, tuple[Placed, int]]


class _External:
    """External memory, filled from the bottom."""

    def __init__(self) -> None:
        self.parts: list[tuple[int, np.ndarray]] = []
        self.size = 0

    def room(self, size: int) -> int:
        address = -(-self.size // BEGIN) * BEGIN
        self.size = address + size
        return address

    def put(self, content: np.ndarray) -> int:
        address = self.room(content.nbytes)
        self.parts.append((address, content))
        return address

    def image(self) -> np.ndarray:
        memory = np.zeros(-(-self.size // BEGIN) * BEGIN, np.uint8)
        for address, content in self.parts:
            memory[address : address + content.nbytes] = np.frombuffer(content.tobytes(), np.uint8)
        return memory


def compile_graph(graph: Graph, engine: Engine) -> Compiled:
    """A program for one frame.

    Raises
    ------
    HwgenError
        An operator that the engine lacks, or one that does not fit into its memories; says which, and what it needs.
    """
    lowering = _Lowering(graph, engine)
    return lowering.compiled()


class _Lowering:
    """The program so far."""

    def __init__(self, graph: Graph, engine: Engine):
        self.graph, self.engine = graph, engine
        self.external = _External()
        self.program: list[Instruction] = []
        self.halves = {"weights": 0, "sums": 0, "scales": 0}
        self.borders = {name: _border(name, graph) for name in graph.tensors}
        self.places: dict[str, tuple[Placed, int]] = {}
        self.problem, self.names = self._problem()
        self.schedule = self._schedule()
        self.here: dict[str, Placed] = {}
        self.there: dict[str, int] = {}

    def _unplaced(self, name: str) -> Placed:
        tensor = self.graph.tensors[name]
        top, left, bottom, right, fill = self.borders[name]
        return Placed(address=0, shape=tensor.shape, border=(top, left, bottom, right), fill=fill)

    def _problem(self) -> tuple[Problem, list[str]]:
        """What the scratchpad must hold in which step, in words of the banks."""
        graph, banks = self.graph, self.engine.banks
        names = list(graph.tensors)
        number = {name: k for k, name in enumerate(names)}
        slack = 2 * banks  # tiles may read beyond a tensor's end
        sizes = [-(-self._unplaced(name).size // banks) for name in names]
        tensors = tuple(
            Tensor(size=size, external=name == graph.input, output=name == graph.output)
            for name, size in zip(names, sizes, strict=True)
        )
        operators = tuple(
            Operator(inputs=tuple(dict.fromkeys(number[i] for i in n.inputs)), outputs=(number[n.output],)) for n in graph.nodes
        )
        return Problem(tensors=tensors, operators=operators, budget=(self.engine.scratchpad - slack) // banks), names

    def _schedule(self) -> Schedule:
        try:
            return solve(self.problem, SECONDS)
        except InfeasibleError as error:
            node, needed = self.graph.nodes[error.operator], error.needed * self.engine.banks
            raise HwgenError(
                f"{node.name}: its inputs and output take {needed} bytes with their borders, and the scratchpad has "
                f"{self.engine.scratchpad}; choose a larger one"
            ) from None

    def compiled(self) -> Compiled:
        graph = self.graph
        size = int(np.prod(graph.tensors[graph.input].shape))
        self.there[graph.input] = self.external.room(self._rows(graph.input) * self._beats(graph.input))
        assert size
        stays = self.schedule.stays
        for step, number in enumerate(self.schedule.order):
            self._leave(step)
            for stay in stays:
                if stay.start == step:
                    name = self.names[stay.tensor]
                    self.here[name] = replace(self._unplaced(name), address=stay.address * self.engine.banks)
                    self.program += self._fill(self.here[name])
                    if name in self.there:
                        self._move(name, Load)
                        self.places.setdefault(name, (self.here[name], len(self.program)))
            node = graph.nodes[number]
            self._lower(node)
            self.places[node.output] = self.here[node.output], len(self.program)
        self._leave(len(self.schedule.order))
        self.program.append(End())
        return Compiled(
            engine=self.engine, program=with_tokens(self.program, self.engine), external=self.external.image(),
            input=self.there[graph.input], output=self.there[graph.output], places=self.places,
        )  # fmt: skip

    def _leave(self, step: int) -> None:
        """Write to external memory what leaves the scratchpad before ``step`` and is needed later."""
        for stay in self.schedule.stays:
            name = self.names[stay.tensor]
            again = any(s.tensor == stay.tensor and s.start >= step for s in self.schedule.stays)
            if stay.end == step:
                if name not in self.there and (again or name == self.graph.output):
                    self.there[name] = self.external.room(self._rows(name) * self._beats(name))
                    self._move(name, Store)
                del self.here[name]

    def _rows(self, name: str) -> int:
        return self.graph.tensors[name].shape[0]

    def _beats(self, name: str) -> int:
        """Bytes of a tensor's row in external memory."""
        _, width, channels = self.graph.tensors[name].shape
        return self.engine.padded(width * channels)

    def _move(self, name: str, how: type[Load] | type[Store]) -> None:
        place = self.here[name]
        height, width, channels = place.shape
        self.program.append(
            how(
                external=self.there[name],
                external_step=self._beats(name),
                local=place.at(0, 0),
                local_step=place.row,
                size=width * channels,
                rows=height,
            )
        )

    def _fill(self, place: Placed) -> Iterator[Fill]:
        """The border."""
        top, left, bottom, right = place.border
        height, _, channels = place.shape
        if top:
            yield Fill(value=place.fill, local=place.address, size=top * place.row)
        if bottom:
            yield Fill(value=place.fill, local=place.address + (top + height) * place.row, size=bottom * place.row)
        if left:
            yield Fill(value=place.fill, local=place.at(0, -left), size=left * channels, rows=height, local_step=place.row)
        if right:
            x = place.shape[1]
            yield Fill(value=place.fill, local=place.at(0, x), size=right * channels, rows=height, local_step=place.row)

    def _lower(self, node: Node) -> None:
        match node:
            case Linear() | GlobalAveragePool():
                self._linear(node)
            case Add() | Table():
                self._combine(node)
            case MaxPool():
                top, left, _, _ = node.pads
                self._pool(node.inputs[0], node.output, node.kernel, node.strides, node.dilations, (-top, -left), 0)
            case Concat():
                channel = 0
                for name in node.inputs:
                    self._pool(name, node.output, (1, 1), (1, 1), (1, 1), (0, 0), channel)
                    channel += self.graph.tensors[name].shape[2]
            case _:
                raise HwgenError(f"{node.name}: the overlay has no {type(node).__name__}; use --style dataflow")

    # Weighted sums

    def _linear(self, node: Linear | GlobalAveragePool) -> None:
        sums = sums_of(node, self.graph)
        source, target = self.here[node.inputs[0]], self.here[node.output]
        scales = self._load_scales(node.name, sums)
        for part in _parts(node, sums, source, self.engine):
            weights = self._load(node.name, Place.WEIGHTS, part.weights, self.engine.weights)
            for tile in _bands(target, self.engine.sums // 2):
                self._band(part, tile, source, target, weights, scales, sums)

    def _band(
        self, part: "_Part", tile: "_Band", source: Placed, target: Placed, weights: int, scales: int, sums: Sums
    ) -> None:
        first = self._half("sums", self.engine.sums)
        start = source.at(part.origin[0] + tile.y * part.strides[0], part.origin[1] + tile.x * part.strides[1], part.channel)
        pixel = source.shape[2]
        instruction = replace(
            part.loops, source=start, x_count=tile.width, y_count=tile.height, weights=weights, sums=first, first=1,
            x_step=part.x_step if part.loops.depthwise else part.strides[1] * pixel, y_step=part.strides[0] * source.row,
        )  # fmt: skip
        self.program.append(instruction)
        fixes = [f for f in sums.exact.fixes.tolist() if part.first <= f[0] < part.first + part.count]
        if len(fixes) > 2:
            raise HwgenError(f"output channels from {part.first} on: {len(fixes)} sums need a correction; the engine has two")
        (c0, s0, d0), (c1, s1, d1) = [*((c - part.first, s, d) for c, s, d in fixes), (0, 0, 0), (0, 0, 0)][:2]
        self.program.append(
            Drain(
                sums=first,
                target=target.at(tile.y, tile.x, part.first),
                x_count=tile.width,
                x_step=target.shape[2],
                y_count=tile.height,
                y_step=target.row,
                channels=part.count,
                scales=scales + part.first,
                steps=sums.steps,
                shift=sums.exact.shift // 4,
                window=sums.window,
                odd=sums.exact.odd,
                lo=sums.lo,
                hi=sums.hi,
                fix0_column=c0,
                fix0_sum=s0,
                fix0_delta=d0,
                fix1_column=c1,
                fix1_sum=s1,
                fix1_delta=d1,
            )
        )

    def _half(self, memory: str, size: int) -> int:
        """The first entry of the half whose turn it is."""
        self.halves[memory] ^= 1
        return self.halves[memory] * (size // 2)

    def _load(self, name: str, place: Place, content: np.ndarray, entries: int) -> int:
        """Bring constants into half of a memory."""
        what = place.name.lower()
        if len(content) > entries // 2:
            raise HwgenError(f"{name}: {len(content)} entries of {what} do not fit into half of the engine's {entries}")
        first = self._half(what, entries)
        self.program.append(Load(place=place, external=self.external.put(content), local=first, size=content.nbytes))
        return first

    def _load_scales(self, name: str, sums: Sums) -> int:
        content = np.zeros(len(sums.exact.mult), np.dtype([("mult", "<u4"), ("offset", "<i8"), ("none", "<u4")]))
        content["mult"], content["offset"] = sums.exact.mult, sums.exact.offset
        return self._load(name, Place.SCALES, content, self.engine.scales)

    # The rest

    def _combine(self, node: Add | Table) -> None:
        tables = tables_of(node, self.graph)
        content = np.concatenate([tables.a, tables.b])
        if max(-content.min(), content.max()) >> 31:
            raise HwgenError(f"{node.name}: its tables need more than 32 bits; choose other scales")
        self.program.append(Load(place=Place.TABLES, external=self.external.put(content.astype("<i4")), size=2048))
        first, second, target = (self.here[name] for name in (node.inputs[0], node.inputs[-1], node.output))
        height, width, channels = target.shape
        self.program.append(
            Combine(
                source0=first.at(0, 0),
                source1=second.at(0, 0),
                target=target.at(0, 0),
                x_count=width * channels,
                y_count=height,
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
        self, source: str, target: str, kernel: tuple[int, int], strides: tuple[int, int], dilations: tuple[int, int],
        origin: tuple[int, int], channel: int,
    ) -> None:  # fmt: skip
        """The maximum over windows into channels from ``channel`` on."""
        here, there = self.here[source], self.here[target]
        height, width, _ = there.shape
        channels = here.shape[2]
        self.program.append(
            Pool(
                source=here.at(*origin),
                target=there.at(0, 0, channel),
                channels=channels,
                x_count=width,
                y_count=height,
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


def _border(name: str, graph: Graph) -> tuple[int, int, int, int, int]:
    """Pixels on each side that the readers of a tensor want, and what is there."""
    tensor = graph.tensors[name]
    away = 0 if tensor.type.integer.signed else 128
    wanted: list[Sequence[int]] = [(0, 0, 0, 0)]
    fills = set()
    for node in graph.consumers(name):
        pads = getattr(node, "pads", (0, 0, 0, 0)) if isinstance(node, Conv | MaxPool) else (0, 0, 0, 0)
        if any(pads):
            wanted.append(pads)
            fills.add(-128 if isinstance(node, MaxPool) else tensor.type.zero_point - away)
    if len(fills) > 1:
        raise HwgenError(f"tensor {name}: a convolution and a pooling pad it with different values; the overlay can't yet")
    top, left, bottom, right = (max(side) for side in zip(*wanted, strict=True))
    return top, left, bottom, right, fills.pop() if fills else 0


@dataclass(frozen=True, kw_only=True)
class _Band:
    """Positions whose sums are made at once."""

    y: int
    x: int
    height: int
    width: int


def _bands(target: Placed, most: int) -> Iterator[_Band]:
    """All positions of the output, up to ``most`` at a time."""
    height, width, _ = target.shape
    across = min(width, most)
    down = min(height, most // across)
    for y in range(0, height, down):
        for x in range(0, width, across):
            yield _Band(y=y, x=x, height=min(down, height - y), width=min(across, width - x))


@dataclass(frozen=True, kw_only=True, eq=False)
class _Part:
    """Output channels that the array computes at once.

    Parameters
    ----------
    first, count
        Output channels.
    channel
        The first input channel.
    origin
        (y, x) of the first window's first element.
    loops
        With the tiles' loops, but no addresses nor positions.
    weights
        (entries, columns) int8.
    """

    first: int
    count: int
    channel: int
    origin: tuple[int, int]
    strides: tuple[int, int]
    x_step: int
    loops: Multiply
    weights: np.ndarray


def _parts(node: Linear | GlobalAveragePool, sums: Sums, source: Placed, engine: Engine) -> Iterator[_Part]:
    """All output channels."""
    columns = engine.columns
    pixel = source.shape[2]
    match node:
        case Conv() if node.depthwise and len(node.weights) == node.groups and node.dilations == (1, 1):
            weights, origin, strides = sums.weights[:, 0], (-node.pads[0], -node.pads[1]), node.strides
        case GlobalAveragePool():
            weights, origin, strides = sums.weights[:, 0], (0, 0), (1, 1)
        case Conv():
            groups, outputs, inputs = node.groups, len(node.weights) // node.groups, node.weights.shape[1]
            for group in range(groups):
                for first in range(group * outputs, (group + 1) * outputs, columns):
                    count = min(columns, (group + 1) * outputs - first)
                    kernel = sums.weights[first : first + count].transpose(2, 3, 1, 0)  # ky, kx, channel, output
                    whole = groups == 1 and node.dilations[1] == 1
                    runs = kernel.reshape(kernel.shape[0], 1, -1, count) if whole else kernel
                    loops, words = _matrix(runs, (node.dilations[0] * source.row, node.dilations[1] * pixel), engine)
                    yield _Part(
                        first=first, count=count, channel=group * inputs, origin=(-node.pads[0], -node.pads[1]),
                        strides=node.strides, x_step=0, loops=loops, weights=words,
                    )  # fmt: skip
            return
        case Dense():
            height, width, channels = source.shape
            whole = source.row == width * channels
            for first in range(0, len(node.weights), columns):
                count = min(columns, len(node.weights) - first)
                flat = sums.weights[first : first + count].T
                runs = flat.reshape(1, 1, -1, count) if whole else flat.reshape(height, 1, width * channels, count)
                loops, words = _matrix(runs, (source.row, 0), engine)
                yield _Part(
                    first=first, count=count, channel=0, origin=(0, 0), strides=(1, 1), x_step=0, loops=loops, weights=words
                )
            return
    for first in range(0, len(weights), columns):
        count = min(columns, len(weights) - first)
        loops, words = _taps(weights[first : first + count], source, strides[1], engine)
        yield _Part(
            first=first, count=count, channel=first, origin=origin, strides=strides, x_step=pixel, loops=loops, weights=words
        )


def _matrix(runs: np.ndarray, steps: tuple[int, int], engine: Engine) -> tuple[Multiply, np.ndarray]:
    """Tiles of ``runs`` (k2, k1, bytes that follow each other, outputs): each run in as many tiles as it needs."""
    k2, k1, run, count = runs.shape
    tiles = -(-run // engine.rows)
    words = np.zeros((k2, k1, tiles * engine.rows, engine.columns), np.int8)
    words[:, :, :run, :count] = runs
    loops = Multiply(
        k0_count=tiles, k0_step=engine.rows if tiles > 1 else 0, k1_count=k1, k1_step=steps[1], k2_count=k2, k2_step=steps[0]
    )
    return loops, words.reshape(-1, engine.columns)


def _taps(weights: np.ndarray, source: Placed, stride: int, engine: Engine) -> tuple[Multiply, np.ndarray]:
    """Tiles of ``weights`` (channels, ky, kx): each row of the window in as many as it needs."""
    count, height, width = weights.shape
    tiles = -(-width // engine.taps)
    words = np.zeros((height, tiles * engine.taps, engine.columns), np.int8)
    words[:, :width, :count] = weights.transpose(1, 2, 0)
    loops = Multiply(
        depthwise=1, stride=stride, k1_count=tiles, k1_step=engine.taps * source.shape[2], k2_count=height, k2_step=source.row
    )
    return loops, words.reshape(-1, engine.columns)
