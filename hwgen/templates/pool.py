"""Pooling: the largest element of a window, the sum of an image."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from amaranth import Cat, Module, Mux, Signal, Value
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

from ..arith import IntType
from ..cost import BLOCKS_18K, Cost, Memories, Resources
from ..streams import Stream, Words, serve
from .pieces import check_counts

__all__ = ["GlobalSum", "GlobalSumParams", "WindowMax", "WindowMaxParams"]


LUT_DEPTH = 64  #: memories of more words are block RAM


@dataclass(frozen=True, kw_only=True)
class WindowMaxParams:
    """The largest of each ``words`` consecutive words of ``rows·lanes`` elements, for each lane.

    The input is a ``Window`` stream whose groups have ``lanes`` channels: element ``r·lanes + c`` is channel c of a row r.

    Parameters
    ----------
    words
        Input words of one output word.
    vectors
        Output words of a frame.
    """

    element: IntType
    words: int
    rows: int = 1
    lanes: int
    vectors: int

    def __post_init__(self) -> None:
        check_counts(self, "words", "rows", "lanes", "vectors")

    @property
    def inputs(self) -> tuple[Stream, ...]:
        return (Stream(element=self.element, lanes=self.rows * self.lanes, words=self.vectors * self.words),)

    @property
    def outputs(self) -> tuple[Stream, ...]:
        return (Stream(element=self.element, lanes=self.lanes, words=self.vectors),)

    @property
    def levels(self) -> int:
        """Registered levels of the tree of comparisons between the rows; a lone row has one register too."""
        return max(1, (self.rows - 1).bit_length())

    def compute(self, words: Words) -> Words:
        return np.asarray(words, np.int64).reshape(-1, self.words * self.rows, self.lanes).max(1)

    def departures(self, arrivals: np.ndarray) -> np.ndarray:
        """A word leaves ``levels + 1`` cycles after the last word of its window came."""
        return serve(arrivals)[self.words - 1 :: self.words] + self.levels + 1

    def needed(self, k: Any, port: int = 0) -> Any:
        return (np.asarray(k) + 1) * self.words

    def accepted(self, k: Any, port: int = 0) -> Any:
        """Behind the finished word the pipeline is full."""
        return (np.asarray(k) + 1) * self.words + self.levels

    def cost(self, memories: Memories = BLOCKS_18K) -> Cost:
        bits, count = self.element.bits, (self.words - 1).bit_length()
        tree = sum(-(-self.rows >> level) for level in range(1, self.levels + 1))  # registers of the tree for each lane
        comparisons = self.rows - 1 + (self.words > 1)
        return Cost(
            cycles=self.vectors * self.words,
            resources=Resources(
                lut=self.lanes * comparisons * 2 * (bits + 1) + 2 * count + self.levels + 4,  # a carry chain, and the choice
                ff=self.lanes * bits * (tree + 1) + count + self.levels + 1,
            ),
        )

    def create(self) -> "WindowMax":
        return WindowMax(self)


class WindowMax(wiring.Component):
    """Hardware for :class:`WindowMaxParams`: a tree over the rows, then the largest so far; one word per cycle.

    Members
    -------
    i, o : streams ``params.inputs[0]`` and ``params.outputs[0]``
    """

    def __init__(self, params: WindowMaxParams):
        self.params = params
        super().__init__({"i": In(params.inputs[0].signature), "o": Out(params.outputs[0].signature)})

    def elaborate(self, platform: Any) -> Module:
        p = self.params
        m = Module()
        enable = Signal()
        m.d.comb += [enable.eq(~self.o.valid | self.o.ready), self.i.ready.eq(enable)]

        valid: Value = self.i.valid
        level = [[self.i.payload[r * p.lanes + c] for r in range(p.rows)] for c in range(p.lanes)]
        for depth in range(p.levels):
            arrived = Signal(name=f"valid{depth}")
            with m.If(enable):
                m.d.sync += arrived.eq(valid)
            valid = arrived
            for lane, values in enumerate(level):
                largest = [_larger(*values[k : k + 2]) for k in range(0, len(values), 2)]
                level[lane] = [Signal(p.element.shape, name=f"level{depth}_{lane}_{k}") for k in range(len(largest))]
                with m.If(enable):
                    m.d.sync += [register.eq(value) for register, value in zip(level[lane], largest, strict=True)]

        count = Signal(range(p.words))
        last = Signal()
        m.d.comb += last.eq(count == p.words - 1)
        with m.If(enable):
            m.d.sync += self.o.valid.eq(valid & last)
            with m.If(valid):
                m.d.sync += count.eq(Mux(last, 0, count + 1))
                for lane, (value,) in enumerate(level):
                    m.d.sync += self.o.payload[lane].eq(Mux(count == 0, value, _larger(value, self.o.payload[lane])))
        return m


def _larger(a: Value, *b: Value) -> Value:
    """The larger of two values, or the only one."""
    return Mux(a > b[0], a, b[0]) if b else a


@dataclass(frozen=True, kw_only=True)
class GlobalSumParams:
    """The sum of each channel over the ``pixels`` of an image.

    Zero points are not subtracted: they belong to the requantiser's offset.

    Parameters
    ----------
    accumulator
        Type of the sums; holds all that can occur.
    """

    element: IntType
    accumulator: IntType
    pixels: int
    channels: int
    lanes: int

    def __post_init__(self) -> None:
        check_counts(self, "pixels", "channels", "lanes")
        if self.channels % self.lanes:
            raise ValueError(f"lanes must divide the {self.channels} channels, not {self.lanes!r}")
        lo, hi = self.element.min * self.pixels, self.element.max * self.pixels
        if lo < self.accumulator.min or hi > self.accumulator.max:
            raise ValueError(f"accumulator must hold {lo}..{hi}, not {self.accumulator}")

    @property
    def inputs(self) -> tuple[Stream, ...]:
        return (Stream(element=self.element, lanes=self.lanes, words=self.pixels * self.chunks),)

    @property
    def outputs(self) -> tuple[Stream, ...]:
        return (Stream(element=self.accumulator, lanes=self.lanes, words=self.chunks),)

    @property
    def chunks(self) -> int:
        """Words of a pixel."""
        return self.channels // self.lanes

    @property
    def in_memory(self) -> bool:
        """Whether the partial sums lie in a memory: a sum comes back to be read four words later at the earliest."""
        return self.chunks >= 4

    @property
    def latency(self) -> int:
        return 3 if self.in_memory else 2

    def compute(self, words: Words) -> Words:
        return np.asarray(words, np.int64).reshape(-1, self.pixels, self.chunks, self.lanes).sum(1).reshape(-1, self.lanes)

    def departures(self, arrivals: np.ndarray) -> np.ndarray:
        """A sum leaves ``latency`` cycles after its last element came."""
        return serve(arrivals).reshape(-1, self.pixels, self.chunks)[:, -1].reshape(-1) + self.latency

    def needed(self, k: Any, port: int = 0) -> Any:
        frame, chunk = np.divmod(np.asarray(k), self.chunks)
        return ((frame + 1) * self.pixels - 1) * self.chunks + chunk + 1

    def accepted(self, k: Any, port: int = 0) -> Any:
        return self.needed(k) + self.latency - 1

    def cost(self, memories: Memories = BLOCKS_18K) -> Cost:
        bits, word = self.outputs[0].bits, self.inputs[0].bits
        count = (self.chunks - 1).bit_length() + (self.pixels - 1).bit_length()
        lut = bits + 2 * count + 4  # adders, which start anew within the same LUTs; counters and their comparisons
        ff = bits + word + count + self.latency + 2
        if not self.in_memory:
            return Cost(cycles=self.inputs[0].words, resources=Resources(lut=lut, ff=ff + (self.chunks - 1) * bits))
        lut += bits + 4
        ff += bits + word + 3 * (self.chunks - 1).bit_length() + 2  # the sum read, what waits for it, addresses
        if self.chunks <= LUT_DEPTH:
            resources = Resources(lut=lut, ff=ff) + memories.small(self.chunks, bits)
            return Cost(cycles=self.inputs[0].words, resources=resources)
        resources = Resources(lut=lut, ff=ff) + memories.large(self.chunks, bits, written=True)
        return Cost(cycles=self.inputs[0].words, resources=resources)

    def create(self) -> "GlobalSum":
        return GlobalSum(self)


class GlobalSum(wiring.Component):
    """Hardware for :class:`GlobalSumParams`: one word per cycle.

    The partial sums of a pixel's words go round in a memory, or in registers where there are too few to wait for one.

    Members
    -------
    i, o : streams ``params.inputs[0]`` and ``params.outputs[0]``
    """

    def __init__(self, params: GlobalSumParams):
        self.params = params
        super().__init__({"i": In(params.inputs[0].signature), "o": Out(params.outputs[0].signature)})

    def elaborate(self, platform: Any) -> Module:
        p = self.params
        m = Module()
        enable = Signal()
        m.d.comb += [enable.eq(~self.o.valid | self.o.ready), self.i.ready.eq(enable)]

        chunk, pixel = Signal(range(p.chunks)), Signal(range(p.pixels))
        with m.If(enable & self.i.valid):
            m.d.sync += chunk.eq(Mux(chunk == p.chunks - 1, 0, chunk + 1))
            with m.If(chunk == p.chunks - 1):
                m.d.sync += pixel.eq(Mux(pixel == p.pixels - 1, 0, pixel + 1))

        def delayed(value: Value, name: str, init: Any = None) -> Signal:
            register = Signal.like(value, name=name, init=init, reset_less=name.startswith("word"))
            with m.If(enable):
                m.d.sync += register.eq(value)
            return register

        valid = delayed(self.i.valid, "valid0")
        first, last = delayed(pixel == 0, "first0"), delayed(pixel == p.pixels - 1, "last0")
        word = delayed(self.i.payload.as_value(), "word0")
        total = self.o.payload.as_value()
        if p.in_memory:
            m.submodules.sums = sums = memory.Memory(
                shape=p.outputs[0].bits,
                depth=p.chunks,
                init=[],
                # A sum is never read while it is written: no logic for that.
                attrs={"ram_style": "block" if p.chunks > LUT_DEPTH else "distributed", "no_rw_check": 1},
            )
            w_port, r_port = sums.write_port(), sums.read_port()
            m.d.comb += [r_port.addr.eq(chunk), r_port.en.eq(enable)]
            so_far = Signal(p.outputs[0].bits)
            with m.If(enable):
                m.d.sync += so_far.eq(Mux(first, 0, r_port.data))
            valid, last, word = delayed(valid, "valid1"), delayed(last, "last1"), delayed(word, "word1")
            address = delayed(delayed(delayed(chunk, "chunk0"), "chunk1"), "chunk2")
            m.d.comb += [w_port.addr.eq(address), w_port.data.eq(total), w_port.en.eq(delayed(valid, "valid2"))]
        else:
            line = [total]
            for k in range(1, p.chunks):
                line.append(Signal(p.outputs[0].bits, name=f"sums{k}"))
                with m.If(enable & valid):
                    m.d.sync += line[k].eq(line[k - 1])
            so_far = Mux(first, 0, line[-1])

        old = [so_far.word_select(k, p.accumulator.bits) for k in range(p.lanes)]
        new = [word.word_select(k, p.element.bits) for k in range(p.lanes)]
        if p.element.signed:
            new = [value.as_signed() for value in new]
        with m.If(enable):
            m.d.sync += self.o.valid.eq(valid & last)
            with m.If(valid):
                m.d.sync += total.eq(Cat((a + b)[: p.accumulator.bits] for a, b in zip(old, new, strict=True)))
        return m
