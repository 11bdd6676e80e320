"""Index of the largest channel."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from amaranth import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..arith import IntType
from ..cost import BLOCKS_18K, Cost, Memories, Resources
from ..streams import Stream, Words, serve
from .pieces import check_counts

__all__ = ["ArgMax", "ArgMaxParams"]


@dataclass(frozen=True, kw_only=True)
class ArgMaxParams:
    """The channel with the largest element of a frame: (1, 1, C) to (1, 1, 1).

    Parameters
    ----------
    element
        Of the input.
    channels
        C.
    last
        Which of equals counts: the last instead of the first (ONNX ``select_last_index``).
    """

    element: IntType
    channels: int
    last: bool = False

    def __post_init__(self) -> None:
        check_counts(self, "channels")

    @property
    def inputs(self) -> tuple[Stream, ...]:
        return (Stream(element=self.element, lanes=1, words=self.channels),)

    @property
    def outputs(self) -> tuple[Stream, ...]:
        return (Stream(element=IntType.holding(0, self.channels - 1), lanes=1, words=1),)

    def compute(self, words: Words) -> Words:
        frames = words.reshape(-1, self.channels)
        if self.last:
            return (self.channels - 1 - frames[:, ::-1].argmax(1))[:, None]
        return frames.argmax(1)[:, None]

    def departures(self, arrivals: np.ndarray) -> np.ndarray:
        return serve(arrivals)[self.channels - 1 :: self.channels] + 1

    def needed(self, k: Any, port: int = 0) -> Any:
        return (k + 1) * self.channels

    def accepted(self, k: Any, port: int = 0) -> Any:
        """All of the next frame but its last word."""
        return (k + 2) * self.channels - 1

    def cost(self, memories: Memories = BLOCKS_18K) -> Cost:
        """Largest element, its index, a counter and the output; a comparator of carry cells."""
        index = self.outputs[0].bits
        lut = self.element.bits + 6 * index + 10
        return Cost(cycles=self.channels, resources=Resources(lut=lut, ff=self.element.bits + 3 * index + 1))

    def create(self) -> "ArgMax":
        return ArgMax(self)


class ArgMax(wiring.Component):
    """Hardware for :class:`ArgMaxParams`: one element per cycle.

    Members
    -------
    i : stream of ``params.inputs[0]``
    o : stream of ``params.outputs[0]``
    """

    def __init__(self, params: ArgMaxParams):
        self.params = params
        super().__init__({"i": In(params.inputs[0].signature), "o": Out(params.outputs[0].signature)})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        index = Signal(range(self.params.channels))
        best = Signal(range(self.params.channels))
        largest = Signal(self.params.element.shape)
        x = self.i.payload[0]
        last, wins, winner = Signal(), Signal(), Signal.like(best)
        m.d.comb += [
            last.eq(index == self.params.channels - 1),
            self.i.ready.eq(~last | ~self.o.valid | self.o.ready),
            wins.eq((index == 0) | (x >= largest if self.params.last else x > largest)),
            winner.eq(Mux(wins, index, best)),
        ]
        with m.If(self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [index.eq(Mux(last, 0, index + 1)), best.eq(winner)]
            with m.If(wins):
                m.d.sync += largest.eq(x)
            with m.If(last):
                m.d.sync += [self.o.valid.eq(1), self.o.payload[0].eq(winner)]
        return m
