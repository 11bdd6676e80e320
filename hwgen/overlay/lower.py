"""From a network to a program: operators become tiles of the engine's loops, tensors lie in the scratchpad by ILP."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np

from ..errors import HwgenError
from ..graph import Add, Concat, GlobalAveragePool, Graph, Linear, MaxPool, Node, Table
from .engine import Engine
from .exact import INSTEAD, Sums, stored, sums_of, tables_of
from .isa import SCALE, Combine, Drain, End, FieldError, Instruction, Load, Place, Pool, Store
from .places import Band, External, Placed, bands, fills, unplaced
from .schedule import schedule
from .tiles import Part, parts
from .tokens import with_tokens

__all__ = ["Compiled", "compile_graph"]


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


def compile_graph(graph: Graph, engine: Engine) -> Compiled:
    """A program for one frame.

    Raises
    ------
    HwgenError
        An operator that the engine lacks, or one that does not fit into its memories; says which, and what it needs.
    """
    return _Lowering(graph, engine).compiled()


class _Lowering:
    """The program so far."""

    def __init__(self, graph: Graph, engine: Engine):
        self.graph, self.engine = graph, engine
        self.external = External()
        self.program: list[Instruction] = []
        self.halves = {"weights": 0, "sums": 0, "scales": 0}
        self.unplaced = {name: unplaced(graph, name) for name in graph.tensors}
        self.places: dict[str, tuple[Placed, int]] = {}
        self.names = list(self.unplaced)
        self.schedule = schedule(graph, engine, self.unplaced)
        self.here: dict[str, Placed] = {}
        self.there: dict[str, int] = {}

    def compiled(self) -> Compiled:
        """Node by node, in the order of the schedule."""
        graph = self.graph
        self.there[graph.input] = self._room(graph.input)
        for step, number in enumerate(self.schedule.order):
            self._leave(step)
            for stay in self.schedule.stays:
                if stay.start == step:
                    self._enter(self.names[stay.tensor], stay.address * self.engine.banks)
            node = graph.nodes[number]
            with _saying(node.name):
                self._lower(node)
            self.places[node.output] = self.here[node.output], len(self.program)
        self._leave(len(self.schedule.order))
        self.program.append(End())
        return Compiled(
            engine=self.engine, program=with_tokens(self.program, self.engine), external=self.external.image(),
            input=self.there[graph.input], output=self.there[graph.output], places=self.places,
        )  # fmt: skip

    def _enter(self, name: str, address: int) -> None:
        """Make room in the scratchpad, and read what is in external memory already."""
        self.here[name] = replace(self.unplaced[name], address=address)
        with _saying(f"tensor {name}"):
            self.program += fills(self.here[name])
            if name in self.there:
                self._move(name, Load)
                self.places.setdefault(name, (self.here[name], len(self.program)))

    def _leave(self, step: int) -> None:
        """Write to external memory what leaves the scratchpad before ``step`` and is needed later."""
        for stay in self.schedule.stays:
            name = self.names[stay.tensor]
            again = any(s.tensor == stay.tensor and s.start >= step for s in self.schedule.stays)
            if stay.end == step:
                if name not in self.there and (again or name == self.graph.output):
                    self.there[name] = self._room(name)
                    with _saying(f"tensor {name}"):
                        self._move(name, Store)
                del self.here[name]

    def _room(self, name: str) -> int:
        """The address of room in external memory."""
        return self.external.room(self.graph.tensors[name].shape[0] * self._beats(name))

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
                raise HwgenError(f"{node.name}: the overlay has no {type(node).__name__}; {INSTEAD}")

    # Weighted sums

    def _linear(self, node: Linear | GlobalAveragePool) -> None:
        sums = sums_of(node, self.graph)
        made = list(parts(node, sums, self.here[node.inputs[0]], self.engine))
        scales = self._load_scales(node, sums, made)
        for part in made:
            weights = self._load(node, Place.WEIGHTS, part.weights.view(np.uint8), self.engine.weights)
            for band in bands(self.here[node.output], self.engine.sums // 2):
                self._band(node, sums, part, band, weights, scales)
            scales += self._of_lanes(part)

    def _band(self, node: Linear | GlobalAveragePool, sums: Sums, part: Part, band: Band, weights: int, scales: int) -> None:
        """Make sums, and outputs of them; ``weights``, ``scales``: first entries."""
        source, target = self.here[node.inputs[0]], self.here[node.output]
        first = self._half("sums", self.engine.sums)
        start = source.at(part.origin[0] + band.y * part.strides[0], part.origin[1] + band.x * part.strides[1], part.channel)
        multiply = replace(
            part.loops, source=start, x_count=band.width, x_step=part.x_step, y_count=band.height,
            y_step=part.strides[0] * source.row, weights=weights, sums=first, first=1,
        )  # fmt: skip
        self.program.append(multiply)
        (c0, s0, d0), (c1, s1, d1) = _fixes(node, sums, part)
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

    def _load(self, node: Node, place: Place, content: np.ndarray, entries: int) -> int:
        """Bring constants (entries, bytes) into half of a memory."""
        what = place.name.lower()
        share = self.engine.entries_of(place)
        if -(-len(content) // share) * share > entries // 2:
            raise HwgenError(
                f"{node.name}: {len(content)} entries of {what} do not fit into half of the engine's {entries}; "
                "choose an engine with more"
            )
        first = self._half(what, entries)
        external = self.engine.laid_out(place, content)
        self.program.append(Load(place=place, external=self.external.put(external), local=first, size=external.nbytes))
        return first

    def _load_scales(self, node: Node, sums: Sums, made: list[Part]) -> int:
        """Those of each part begin with a word of the lanes."""
        content = np.zeros(sum(self._of_lanes(part) for part in made), SCALE)
        start = 0
        for part in made:
            of_part = slice(part.first, part.first + part.count)
            content["mult"][start : start + part.count] = sums.exact.mult[of_part]
            content["offset"][start : start + part.count] = sums.exact.offset[of_part]
            start += self._of_lanes(part)
        return self._load(node, Place.SCALES, content.view(np.uint8).reshape(-1, SCALE.itemsize), self.engine.scales)

    def _of_lanes(self, part: Part) -> int:
        """Scales of a part, up to whole words of the lanes."""
        return -(-part.count // self.engine.lanes) * self.engine.lanes

    # The rest

    def _combine(self, node: Add | Table) -> None:
        tables = tables_of(node, self.graph)
        entries = np.concatenate([tables.a, tables.b]).astype("<i4").view(np.uint8).reshape(-1, 4)
        content = self.engine.laid_out(Place.TABLES, entries)
        self.program.append(Load(place=Place.TABLES, external=self.external.put(content), size=content.nbytes))
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
        stored(self.graph, source)
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


@contextmanager
def _saying(what: str) -> Iterator[None]:
    """Name what an instruction is for that has no room for a number."""
    try:
        yield
    except FieldError as error:
        raise HwgenError(f"{what}: {error}; {INSTEAD}") from None


def _fixes(node: Node, sums: Sums, part: Part) -> list[tuple[int, int, int]]:
    """(column, sum, delta) of the two corrections of a part; those that it does not need are 0."""
    fixes = [(c - part.first, s, d) for c, s, d in sums.exact.fixes.tolist() if 0 <= c - part.first < part.count]
    if len(fixes) > 2:
        raise HwgenError(
            f"{node.name}: {len(fixes)} sums of output channels {part.first}..{part.first + part.count - 1} need a correction, "
            f"and the engine has two; {INSTEAD}"
        )
    return [*fixes, (0, 0, 0), (0, 0, 0)][:2]
