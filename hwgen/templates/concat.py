"""Concatenation of tensors along their channels."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from amaranth import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..arith import IntType
from ..cost import BLOCKS_18K, Cost, Memories, Resources
from ..streams import Stream, Words, serve
from .pieces import check_counts

__all__ = ["Concat", "ConcatParams"]


@dataclass(frozen=True, kw_only=True)
class ConcatParams:
    """For each pixel the channels of one input after those of the other.

    Parameters
    ----------
    element
        Of all streams.
    lanes
        Elements of a word, in all streams; divides each of ``channels``.
    channels
        Of each input; at least two inputs.
    pixels
        Rows times columns of a frame.
    """

    element: IntType
    lanes: int
    channels: tuple[int, ...]
    pixels: int

    def __post_init__(self) -> None:
        if len(self.channels) < 2:
            raise ValueError(f"channels must be of at least 2 inputs, not {self.channels!r}")
        check_counts(self, "lanes", "pixels")
        if any(c < 1 or c % self.lanes for c in self.channels):
            raise ValueError(f"channels must be positive multiples of {self.lanes} lanes, not {self.channels!r}")

    @property
    def chunks(self) -> tuple[int, ...]:
        """Words of one pixel, for each input."""
        return tuple(c // self.lanes for c in self.channels)

    @property
    def inputs(self) -> tuple[Stream, ...]:
        return tuple(Stream(element=self.element, lanes=self.lanes, words=n * self.pixels) for n in self.chunks)

    @property
    def outputs(self) -> tuple[Stream, ...]:
        return (Stream(element=self.element, lanes=self.lanes, words=sum(self.chunks) * self.pixels),)

    def compute(self, *words: Words) -> Words:
        pixels = [w.reshape(-1, n, self.lanes) for w, n in zip(words, self.chunks, strict=True)]
        return np.concatenate(pixels, axis=1).reshape(-1, self.lanes)

    def departures(self, *arrivals: np.ndarray) -> np.ndarray:
        merged = np.concatenate([a.reshape(-1, n) for a, n in zip(arrivals, self.chunks, strict=True)], axis=1)
        return serve(merged.ravel()) + 1

    def needed(self, k: Any, port: int = 0) -> Any:
        """Words of input ``port`` among the output words 0..k."""
        chunk, before = self.chunks[port], sum(self.chunks[:port])
        pixel, word = (k + 1) // sum(self.chunks), (k + 1) % sum(self.chunks)
        return pixel * chunk + np.clip(word - before, 0, chunk)

    def accepted(self, k: Any, port: int = 0) -> Any:
        return self.needed(k, port)

    def cost(self, memories: Memories = BLOCKS_18K) -> Cost:
        """An output register behind a multiplexer of the inputs (a LUT4 for each further input and bit), two counters."""
        bits, inputs = self.outputs[0].bits, len(self.channels)
        ff = bits + (max(self.chunks) - 1).bit_length() + (inputs - 1).bit_length() + 1
        return Cost(cycles=self.outputs[0].words, resources=Resources(lut=bits * (inputs - 1) + 7 * inputs, ff=ff))

    def create(self) -> "Concat":
        return Concat(self)


class Concat(wiring.Component):
    """Hardware for :class:`ConcatParams`: one word per cycle.

    Members
    -------
    i0, i1, ... : streams of ``params.inputs``
    o : stream of ``params.outputs[0]``
    """

    def __init__(self, params: ConcatParams):
        self.params = params
        inputs = {f"i{n}": In(s.signature) for n, s in enumerate(params.inputs)}
        super().__init__({**inputs, "o": Out(params.outputs[0].signature)})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        inputs = [getattr(self, f"i{n}") for n in range(len(self.params.channels))]
        last = [n - 1 for n in self.params.chunks]
        port = Signal(range(len(inputs)))  # the input whose turn it is
        left = Signal(range(max(self.params.chunks)), init=last[0])  # words that follow the next one in its turn
        free = Signal()
        m.d.comb += free.eq(~self.o.valid | self.o.ready)
        with m.Switch(port):
            for n, i in enumerate(inputs):
                following = (n + 1) % len(inputs)
                with m.Case(n):
                    m.d.comb += i.ready.eq(free)
                    with m.If(free):
                        m.d.sync += [self.o.valid.eq(i.valid), self.o.payload.eq(i.payload)]
                    with m.If(free & i.valid):
                        m.d.sync += left.eq(left - 1)
                        with m.If(left == 0):
                            m.d.sync += [port.eq(following), left.eq(last[following])]
        return m
