"""Width converter: wider or narrower words, the same elements in the same order."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from amaranth import Cat, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..cost import BLOCKS_18K, Cost, Memories, Resources
from ..streams import Stream, Words, serve

__all__ = ["Width", "WidthParams"]


@dataclass(frozen=True, kw_only=True)
class WidthParams:
    """From words of ``stream.lanes`` elements to words of ``lanes`` elements, first element first.

    Parameters
    ----------
    stream
        What comes in.
    lanes
        Elements of an output word; a divisor or a multiple of ``stream.lanes`` that divides a frame's elements.
    """

    stream: Stream
    lanes: int

    def __post_init__(self) -> None:
        if self.lanes < 1 or (self.lanes % self.stream.lanes and self.stream.lanes % self.lanes):
            raise ValueError(f"lanes must be a divisor or a multiple of {self.stream.lanes}, not {self.lanes!r}")
        if self.stream.elements % self.lanes:
            raise ValueError(f"lanes must divide the {self.stream.elements} elements of a frame, not {self.lanes!r}")

    @property
    def inputs(self) -> tuple[Stream, ...]:
        return (self.stream,)

    @property
    def outputs(self) -> tuple[Stream, ...]:
        return (Stream(element=self.stream.element, lanes=self.lanes, words=self.stream.elements // self.lanes),)

    @property
    def joined(self) -> int:
        """Input words that make one output word; 1 where words are split."""
        return max(1, self.lanes // self.stream.lanes)

    @property
    def parts(self) -> int:
        """Output words that one input word makes; 1 where words are joined."""
        return max(1, self.stream.lanes // self.lanes)

    def compute(self, words: Words) -> Words:
        return words.reshape(-1, self.lanes)

    def departures(self, arrivals: np.ndarray) -> np.ndarray:
        """A word leaves one cycle after the last input word that it is made of; the parts of a word in consecutive cycles."""
        last = serve(arrivals, self.parts)[self.joined - 1 :: self.joined]
        return (last[:, None] + 1 + np.arange(self.parts)).ravel()

    def needed(self, k: Any, port: int = 0) -> Any:
        return (k // self.parts + 1) * self.joined

    def accepted(self, k: Any, port: int = 0) -> Any:
        return self.needed(k)

    def cost(self, memories: Memories = BLOCKS_18K) -> Cost:
        """One wide shift register; splitting puts a multiplexer (a LUT) before each bit."""
        bits = max(self.stream.bits, self.lanes * self.stream.element.bits)
        counter = max(self.joined, self.parts).bit_length()  # whose next value is one of a few LUTs
        cycles = self.stream.words * self.parts
        if self.joined > 1:
            return Cost(cycles=cycles, resources=Resources(lut=min(30, 3 << counter - 1), ff=bits + counter))
        return Cost(cycles=cycles, resources=Resources(lut=bits + 2 * counter + 3, ff=bits + counter + 2))

    def create(self) -> "Width":
        return Width(self)


class Width(wiring.Component):
    """Hardware for :class:`WidthParams`: a shift register that takes a word, or gives one, in every cycle.

    Members
    -------
    i : stream of ``params.stream``
    o : stream of ``params.outputs[0]``
    """

    def __init__(self, params: WidthParams):
        self.params = params
        super().__init__({"i": In(params.stream.signature), "o": Out(params.outputs[0].signature)})

    def elaborate(self, platform: Any) -> Module:
        return self._join() if self.params.joined > 1 else self._split()

    def _join(self) -> Module:
        m = Module()
        word = self.o.payload.as_value()
        missing = Signal(range(self.params.joined + 1), init=self.params.joined)  # input words until the output is complete
        m.d.comb += [
            self.o.valid.eq(missing == 0),
            self.i.ready.eq(~self.o.valid | self.o.ready),
        ]
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += word.eq(Cat(word, self.i.payload)[self.params.stream.bits :])
            m.d.sync += missing.eq(Mux(self.o.valid, self.params.joined, missing) - 1)
        with m.Elif(self.o.valid & self.o.ready):
            m.d.sync += missing.eq(self.params.joined)
        return m

    def _split(self) -> Module:
        m = Module()
        rest = Signal(self.params.stream.bits)
        left = Signal(signed(self.params.parts.bit_length() + 1), init=-1)  # parts that follow the offered one, less one
        last, move = left[-1], Signal()  # the register is empty or has its last part
        m.d.comb += [
            self.o.payload.eq(rest),
            move.eq(~self.o.valid | self.o.ready),
            self.i.ready.eq(last & move),
        ]
        with m.If(move):  # without an input word the register takes what lies there, and o.valid falls
            m.d.sync += rest.eq(Mux(last, self.i.payload, rest >> self.params.outputs[0].bits))
            m.d.sync += self.o.valid.eq(~last | self.i.valid)
            m.d.sync += left.eq(Mux(last, Mux(self.i.valid, self.params.parts - 2, -1), left - 1))
        return m
