"""Average of a window, as ONNX Runtime's float kernel computes it (QLinearAveragePool, 1.31.1).

For a window of n counted pixels: ``clip(rint(f32(f32(f32(sum / n) / sy) + zy)))``, where ``sum`` adds the dequantised elements
``f32((x - zx) * sx)`` one after the other, row by row, in float32. Padding adds zero. A window that is the whole image,
unpadded, gives ``clip(rint(f32(sum(x - zx)) * f32(sx / (n * sy))) + zy)`` instead.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from amaranth import Array, Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

from ..arith import IntType
from ..cost import BLOCKS_18K, Cost, Memories, Resources
from ..errors import HwgenError
from ..graph import Pads, Pair, QuantType, window_count
from ..streams import Stream, Words, serve
from .pieces import check_counts

__all__ = ["Average", "AverageParams", "AverageTables", "average"]

MANTISSA = 24  #: significant bits of float32


@dataclass(frozen=True, kw_only=True, eq=False)
class AverageTables:
    """What :class:`Average` looks up.

    Parameters
    ----------
    values
        (2**input.bits,) what element ``x`` adds to the sum, at ``x - input.min``.
    thresholds
        (sets, 2**output.bits - 1) rising: the output is ``output.min`` plus how many thresholds the sum has reached.
    """

    values: np.ndarray
    thresholds: np.ndarray


@dataclass(frozen=True, kw_only=True)
class AverageParams:
    """Sum the ``words`` words of each window, round after each addition, find the result by binary search.

    The input is a ``Window`` stream with ``rows=1`` whose groups have ``lanes`` channels.

    Parameters
    ----------
    total
        Type of sums and thresholds; holds every sum.
    words
        Input words of one output word.
    groups
        Output words of one window.
    row_sets, column_sets
        For each output row and column; their sum is the set of thresholds that the window uses.
    rounded
        Whether sums are rounded to 24 significant bits, half to even, as float32 is. Otherwise each element adds itself.
    """

    input: IntType
    output: IntType
    total: IntType
    words: int
    lanes: int
    groups: int
    row_sets: tuple[int, ...]
    column_sets: tuple[int, ...]
    rounded: bool

    def __post_init__(self) -> None:
        check_counts(self, "words", "lanes", "groups")
        for name in ("row_sets", "column_sets"):
            if not getattr(self, name) or min(getattr(self, name)) < 0:
                raise ValueError(f"{name} must be numbers that are not negative, not {getattr(self, name)!r}")
        if not self.total.signed:
            raise ValueError(f"total must be signed, not {self.total}")

    @property
    def vectors(self) -> int:
        """Output words of a frame."""
        return len(self.row_sets) * len(self.column_sets) * self.groups

    @property
    def sets(self) -> int:
        return max(self.row_sets) + max(self.column_sets) + 1

    @property
    def inputs(self) -> tuple[Stream, ...]:
        return (Stream(element=self.input, lanes=self.lanes, words=self.vectors * self.words),)

    @property
    def outputs(self) -> tuple[Stream, ...]:
        return (Stream(element=self.output, lanes=self.lanes, words=self.vectors),)

    @property
    def steps(self) -> int:
        """Cycles for each word: add; find the place to round at; round."""
        return 3 if self.rounded else 1

    @property
    def latency(self) -> int:
        """Cycles from a window's last word to its result: the sum, then read, hold and compare a threshold for each bit."""
        return (5 if self.rounded else 2) + 3 * self.output.bits

    @property
    def interval(self) -> int:
        """Cycles for each output word. A window's last word waits for the result before it; the others do not."""
        return max(self.words * self.steps, self.latency)

    def compute(self, words: Words, contents: AverageTables) -> Words:
        taps = contents.values[np.asarray(words, np.int64) - self.input.min].reshape(-1, self.words, self.lanes)
        total = np.zeros_like(taps[:, 0])
        for k in range(self.words):
            total = total + taps[:, k]
            total = _float32(total) if self.rounded else total
        rows, columns = np.array(self.row_sets), np.array(self.column_sets)
        sets = np.repeat((rows[:, None] + columns).reshape(-1), self.groups)
        result = np.empty_like(total).reshape(-1, self.vectors, self.lanes)
        for k, thresholds in enumerate(contents.thresholds):
            here = sets == k
            result[:, here] = np.searchsorted(thresholds, total.reshape(result.shape)[:, here], side="right")
        return result.reshape(total.shape) + self.output.min

    def departures(self, arrivals: np.ndarray) -> np.ndarray:
        """A result leaves ``latency`` cycles after its window's last word was taken."""
        own = (arrivals.reshape(-1, self.words) + np.arange(self.words)[::-1] * self.steps).max(1)
        return serve(own, self.interval) + self.latency

    def needed(self, k: Any, port: int = 0) -> Any:
        return (np.asarray(k) + 1) * self.words

    def accepted(self, k: Any, port: int = 0) -> Any:
        """Behind the result another waits, and behind that all but the last word of a window."""
        return (np.asarray(k) + 3) * self.words - 1

    def cost(self, memories: Memories = BLOCKS_18K) -> Cost:
        """Modelled for each lane: adder, comparison; place to round at and second addition; two lanes share a block RAM."""
        bits = self.total.bits
        tables = memories.large(self.sets << self.output.bits, bits, reads=self.lanes)
        lane_lut, lane_ff = 2 * bits + 6, 3 * bits + 3 * self.output.bits
        if self.rounded:
            lane_lut, lane_ff = lane_lut + 3 * bits, lane_ff + 2 * bits + 2 * (bits - 1 - MANTISSA)
            tables += memories.large(1 << self.input.bits, bits, reads=self.lanes)
        positions = sum((n - 1).bit_length() for n in (len(self.row_sets), len(self.column_sets), self.groups))
        places = positions if self.sets > 1 else 0
        resources = Resources(lut=self.lanes * lane_lut + places + 23, ff=self.lanes * lane_ff + places + 15) + tables
        return Cost(cycles=self.vectors * self.interval, resources=resources)

    def create(self, contents: AverageTables) -> "Average":
        expected = (self.sets, (1 << self.output.bits) - 1)
        if contents.values.shape != (1 << self.input.bits,):
            raise ValueError(f"values must have shape ({1 << self.input.bits},), not {contents.values.shape}")
        if contents.thresholds.shape != expected:
            raise ValueError(f"thresholds must have shape {expected}, not {contents.thresholds.shape}")
        return Average(self, contents)


def _float32(x: np.ndarray) -> np.ndarray:
    """Integers below 2**53 rounded to 24 significant bits, half to even."""
    return x.astype(np.float32).astype(np.int64)


def average(
    source: QuantType,
    result: QuantType,
    *,
    height: int,
    width: int,
    channels: int,
    lanes: int,
    kernel: Pair,
    strides: Pair,
    pads: Pads,
    count_include_pad: bool,
) -> tuple[AverageParams, AverageTables]:
    """Params and tables of an average pooling whose ``Window`` pads with the zero point of ``source``.

    Sums stay integers where no error of the float32 sum can change a result; otherwise they are rounded like it.

    Raises
    ------
    HwgenError
        If a window lies in the padding alone, or numbers leave float32's normal range.
    """
    if lanes < 1 or channels % lanes:
        raise ValueError(f"lanes must divide the {channels} channels, not {lanes!r}")
    sizes = (height, width)
    counts = []
    for axis in range(2):
        n_out = window_count(sizes[axis], kernel[axis], strides[axis], 1, pads[axis], pads[axis + 2])
        first = np.arange(n_out) * strides[axis] - pads[axis]
        inside = np.minimum(first + kernel[axis], sizes[axis]) - np.maximum(first, 0)
        counts.append(np.full(n_out, kernel[axis]) if count_include_pad else inside)
        if inside.min() < 1 and not count_include_pad:
            raise HwgenError(f"average pooling: a window lies in the padding alone (kernel {kernel}, pads {pads})")
    row_counts, row_sets = np.unique(counts[0], return_inverse=True)
    column_counts, column_sets = np.unique(counts[1], return_inverse=True)
    pixels = np.outer(row_counts, column_counts).reshape(-1)

    taps, x_type, scale = kernel[0] * kernel[1], source.integer, np.float32(source.scale)
    if not 2.0**-80 < source.scale < 2.0**80 or not 2.0**-40 < source.scale / result.scale < 2.0**40:
        raise HwgenError(f"average pooling: scales {source.scale} and {result.scale} leave float32's range")
    elements = np.arange(x_type.min, x_type.max + 1)
    values = ((elements - source.zero_point).astype(np.float32) * scale).astype(np.float64)
    integers = (values / float(np.spacing(scale))).astype(np.int64)
    common = int(np.bitwise_or.reduce(integers))
    integers //= common & -common  # what all share goes into the unit
    unit = float(np.spacing(scale)) * (common & -common)

    def mean(total: np.ndarray, n: np.ndarray) -> np.ndarray:
        quotient = total.astype(np.float32) / n.astype(np.float32) / np.float32(result.scale) + np.float32(result.zero_point)
        return np.clip(np.rint(quotient), result.integer.min, result.integer.max).astype(np.int64)

    # A kernel that is the whole image runs as a global pooling, whose sums are integers.
    whole = kernel == sizes and not any(pads)
    factor = scale / (np.float32(taps) * np.float32(result.scale))

    def whole_mean(total: np.ndarray, n: np.ndarray) -> np.ndarray:
        y = np.rint(total.astype(np.float32) * factor) + result.zero_point
        return np.clip(y, result.integer.min, result.integer.max).astype(np.int64)

    rounded = not whole and not _sums_alike(elements - source.zero_point, integers, taps, float(scale), mean, pixels)
    if rounded:
        reach = int(np.abs(integers).max()) * taps * 9 // 8  # and what rounding adds
        total, zero = IntType.holding(-reach - 1, reach), 0
    else:
        integers, unit, zero = elements, float(scale), taps * source.zero_point
        total = IntType.holding(min(-1, x_type.min * taps), x_type.max * taps + 1)
    if whole:
        thresholds = _thresholds(lambda s, n: whole_mean(s - zero, n), pixels, total, result.integer)
    else:
        thresholds = _thresholds(lambda s, n: mean((s - zero) * unit, n), pixels, total, result.integer)
    params = AverageParams(
        input=x_type,
        output=result.integer,
        total=total,
        words=taps,
        lanes=lanes,
        groups=channels // lanes,
        row_sets=tuple(int(k) * len(column_counts) for k in row_sets),
        column_sets=tuple(int(k) for k in column_sets),
        rounded=rounded,
    )
    return params, AverageTables(values=integers, thresholds=thresholds)


def _sums_alike(
    steps: np.ndarray, integers: np.ndarray, taps: int, scale: float, mean: Callable[..., Any], pixels: np.ndarray
) -> bool:
    """Whether every float32 sum of the same integers gives the same results: those at either end of its error do."""
    reach = float(np.abs(steps).max()) * scale * taps * 1.001
    # Half a unit in the last place for each element and for each addition, but none where all sums are exact.
    exact = float(np.abs(integers).max()) * taps <= 2**MANTISSA
    error = 0.0 if exact else taps * float(np.spacing(np.float32(reach)))
    sums = np.arange(taps * steps.min(), taps * steps.max() + 1) * scale
    low, high = sums - error, sums + error
    return bool((mean(low[None], pixels[:, None]) == mean(high[None], pixels[:, None])).all())


def _thresholds(meaning: Callable[..., Any], pixels: np.ndarray, total: IntType, output: IntType) -> np.ndarray:
    """For each count of pixels and each result above the least: the least sum that gives it, or beyond all sums."""
    wanted = np.arange(output.min + 1, output.max + 1)[None, :]
    low = np.full((len(pixels), wanted.shape[1]), total.min)
    high = np.full_like(low, total.max)
    while (low < high).any():
        middle = (low + high) >> 1
        enough = meaning(middle, pixels[:, None]) >= wanted
        low, high = np.where(enough, low, middle + 1), np.where(enough, middle, high)
    return low


class Average(wiring.Component):
    """Hardware for :class:`AverageParams`.

    Members
    -------
    i, o : streams ``params.inputs[0]`` and ``params.outputs[0]``
    """

    def __init__(self, params: AverageParams, contents: AverageTables):
        self.params, self.contents = params, contents
        super().__init__({"i": In(params.inputs[0].signature), "o": Out(params.outputs[0].signature)})

    def elaborate(self, platform: Any) -> Module:
        p = self.params
        m = Module()
        accept, done = Signal(), Signal()
        wait, tap, pending = Signal(range(p.steps)), Signal(range(p.words)), Signal()
        last = Signal()
        m.d.comb += [
            last.eq(tap == p.words - 1),
            self.i.ready.eq((wait == 0) & ~(last & pending)),
            accept.eq(self.i.valid & self.i.ready),
        ]
        m.d.sync += [wait.eq(Mux(accept, p.steps - 1, wait - (wait != 0))), pending.eq((pending & ~done) | (accept & last))]
        with m.If(accept):
            m.d.sync += tap.eq(Mux(last, 0, tap + 1))

        # The sums: `sums` holds a window's while its result is looked for.
        depth = 4 if p.rounded else 1
        stages = [Cat(accept, tap == 0, last)]
        for k in range(depth):
            stages.append(Signal(3, name=f"stage{k + 1}"))
            m.d.sync += stages[-1].eq(stages[-2])
        sums = [Signal(p.total.shape, name=f"sum{k}") for k in range(p.lanes)]
        values = self._values(m) if p.rounded else []
        for k in range(p.lanes):
            so_far = Signal(p.total.shape, name=f"so_far{k}")
            if p.rounded:
                raw = Signal(p.total.shape, name=f"raw{k}")
                with m.If(stages[2][0]):
                    m.d.sync += raw.eq(Mux(stages[2][1], 0, so_far) + values[k])
                up, cut = _rounding(raw)
                addend, cut_off = Signal.like(up, name=f"addend{k}"), Signal.like(cut, name=f"cut_off{k}")
                m.d.sync += [addend.eq(up), cut_off.eq(cut)]
                new = (raw + addend.as_unsigned())[: p.total.bits] & ~cut_off
            else:
                element = Signal(p.input.shape, name=f"element{k}")
                m.d.sync += element.eq(self.i.payload[k])
                new = (Mux(stages[1][1], 0, so_far) + element)[: p.total.bits]
            with m.If(stages[depth][0]):
                m.d.sync += so_far.eq(new)
                with m.If(stages[depth][2]):
                    m.d.sync += sums[k].eq(new)
        self._search(m, stages[depth][0] & stages[depth][2], sums, done)
        return m

    def _values(self, m: Module) -> list[Value]:
        """What each lane's element adds, two cycles later."""
        p = self.params
        by_pattern = np.roll(self.contents.values, p.input.min).tolist()  # natural binary: -1 last
        m.submodules.values = table = memory.Memory(
            shape=p.total.shape, depth=1 << p.input.bits, init=by_pattern, attrs={"rom_style": "block"}
        )
        values = []
        for k in range(p.lanes):
            port = table.read_port()
            values.append(Signal(p.total.shape, name=f"value{k}"))
            m.d.comb += port.addr.eq(self.i.payload[k])
            m.d.sync += values[k].eq(port.data)
        return values

    def _search(self, m: Module, start: Value, sums: list[Signal], done: Signal) -> None:
        """Binary search: read a threshold, hold it, compare it with the sum; for each bit of the output."""
        p = self.params
        bits = p.output.bits
        heap = np.zeros((p.sets, 1 << bits), np.int64)  # node k has the children 2k and 2k + 1
        for level in range(bits):
            heap[:, 1 << level : 2 << level] = self.contents.thresholds[:, (1 << bits - 1 - level) - 1 :: 1 << bits - level]
        m.submodules.thresholds = table = memory.Memory(
            shape=p.total.shape, depth=p.sets << bits, init=heap.reshape(-1).tolist(), attrs={"rom_style": "block"}
        )
        running, phase, level = Signal(), Signal(range(3)), Signal(range(bits))
        compare = running & (phase == 2)
        m.d.comb += done.eq(compare & (level == bits - 1) & (~self.o.valid | self.o.ready))
        with m.If(self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        with m.If(start):
            m.d.sync += [running.eq(1), phase.eq(0), level.eq(0)]
        with m.Elif(done):
            m.d.sync += [running.eq(0), self.o.valid.eq(1)]
        with m.Elif(compare), m.If(level != bits - 1):
            m.d.sync += [phase.eq(0), level.eq(level + 1)]
        with m.Else():
            m.d.sync += phase.eq(phase + 1)

        chosen = self._chosen_set(m, done)
        for k, total in enumerate(sums):
            node, threshold = Signal(bits, name=f"node{k}", init=1), Signal(p.total.shape, name=f"threshold{k}")
            port = table.read_port()
            m.d.comb += port.addr.eq(Cat(node, chosen))
            m.d.sync += threshold.eq(port.data)
            next_node = Cat(total >= threshold, node)[:bits]
            with m.If(start | done):
                m.d.sync += node.eq(1)
            with m.Elif(compare & (level != bits - 1)):
                m.d.sync += node.eq(next_node)
            with m.If(done):
                m.d.sync += self.o.payload[k].eq(next_node ^ (1 << bits - 1 if p.output.signed else 0))

    def _chosen_set(self, m: Module, done: Value) -> Value:
        """The set of thresholds for the window at hand."""
        p = self.params
        if p.sets == 1:
            return Const(0, 0)
        advance: Value = done
        positions = []
        for name, n in (("group", p.groups), ("column", len(p.column_sets)), ("row", len(p.row_sets))):
            position = Signal(range(n), name=name)
            with m.If(advance):
                m.d.sync += position.eq(Mux(position == n - 1, 0, position + 1))
            advance = advance & (position == n - 1)
            positions.append(position)
        chosen = Signal(range(p.sets))
        m.d.sync += chosen.eq(Array(p.row_sets)[positions[2]] + Array(p.column_sets)[positions[1]])
        return chosen


def _rounding(raw: Signal) -> tuple[Value, Value]:
    """What to add to ``raw``, and which bits then to clear, to round it to 24 significant bits, half to even."""
    excess = len(raw) - 1 - MANTISSA
    magnitude = raw[:-1] ^ raw[-1].replicate(len(raw) - 1)
    # at_least[j]: j bits or more too many
    at_least = [Const(1, 1), *(magnitude[MANTISSA + j :].any() for j in range(excess)), Const(0, 1)]
    exactly = [at_least[j] & ~at_least[j + 1] for j in range(excess + 1)]
    odd = Cat(exactly[j] & raw[j] for j in range(1, excess + 1)).any()
    # Half a unit of the last place kept if that is odd, a hair less if it is even.
    up = Cat(Mux(odd, exactly[j + 1], at_least[j + 2] if j + 2 <= excess else 0) for j in range(excess))
    return up, Cat(*at_least[1 : excess + 1], Const(0, len(raw) - excess))
