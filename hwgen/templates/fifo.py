"""First-in first-out buffer: lets one branch of a fork run ahead of the other."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from amaranth import Module, Signal, Value
from amaranth.lib import fifo, wiring
from amaranth.lib.wiring import In, Out

from ..cost import BLOCKS_18K, Cost, Memories, Resources
from ..streams import Stream, Words, serve

__all__ = ["Fifo", "FifoParams", "fifo_of"]

LARGE = 32  #: words of a memory that may be block RAM


@dataclass(frozen=True, kw_only=True)
class FifoParams:
    """A buffer of ``depth`` words.

    Parameters
    ----------
    stream
        What it carries.
    depth
        Words held at most; 3 suffice to cut a path of ready signals without losing a cycle.
    registered
        Whether there is a register behind the memory, as block RAM is slow.
    """

    stream: Stream
    depth: int
    registered: bool = False

    def __post_init__(self) -> None:
        least = 4 if self.registered else 3
        if self.depth < least:
            raise ValueError(f"depth must be at least {least}, not {self.depth!r}")

    @property
    def inputs(self) -> tuple[Stream, ...]:
        return (self.stream,)

    @property
    def outputs(self) -> tuple[Stream, ...]:
        return (self.stream,)

    def compute(self, words: Words) -> Words:
        return words

    def departures(self, arrivals: np.ndarray) -> np.ndarray:
        """A word leaves two cycles after it came, or three: written, read into the output register, then into another."""
        return serve(arrivals + self.latency)

    @property
    def latency(self) -> int:
        """Cycles through an empty buffer."""
        return 2 + self.registered

    def needed(self, k: Any, port: int = 0) -> Any:
        return k + 1

    def accepted(self, k: Any, port: int = 0) -> Any:
        return k + self.depth

    def cost(self, memories: Memories = BLOCKS_18K) -> Cost:
        """Modelled: addresses to read and to write, and how many words there are.

        Yosys chooses what the memory is made of (:meth:`hwgen.cost.Memories.chosen`). Block RAM does not say what a word is
        that is read while it is written: registers for what was written before, and a multiplexer, do.
        """
        stored = self.depth - 1 - self.registered  # words that are in no output register
        address, bits = (stored - 1).bit_length(), self.stream.bits
        words = memories.chosen(stored, bits)
        counters = Resources(lut=6 * address + (35 if address > 4 else 12), ff=2 * address + (self.depth - 1).bit_length() + 1)
        if words.bram:
            words += Resources(lut=bits, ff=2 * bits + address + 2)
        if self.registered:
            words += Resources(ff=bits + 1, lut=2)
        return Cost(cycles=self.stream.words, resources=words + counters)

    def create(self) -> "Fifo":
        return Fifo(self)


def fifo_of(stream: Stream, depth: int) -> FifoParams:
    """A buffer of at least so many words; where its memory is large with a register, and a word for the cycle that takes."""
    registered = depth > LARGE
    return FifoParams(stream=stream, depth=max(3, depth) + registered, registered=registered)


class Fifo(wiring.Component):
    """Hardware for :class:`FifoParams`: one word per cycle.

    Members
    -------
    i, o : streams of ``params.stream``
    """

    def __init__(self, params: FifoParams):
        self.params = params
        super().__init__({"i": In(params.stream.signature), "o": Out(params.stream.signature)})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        p = self.params
        m.submodules.fifo = queue = fifo.SyncFIFOBuffered(width=p.stream.bits, depth=p.depth - p.registered)
        m.d.comb += [
            queue.w_data.eq(self.i.payload),
            queue.w_en.eq(self.i.valid),
            self.i.ready.eq(queue.w_rdy),
        ]
        if p.registered:
            free, word = Signal(), Signal(p.stream.bits, reset_less=True)
            m.d.comb += [free.eq(~self.o.valid | self.o.ready), queue.r_en.eq(free), Value.cast(self.o.payload).eq(word)]
            with m.If(free):
                m.d.sync += [self.o.valid.eq(queue.r_rdy), word.eq(queue.r_data)]
        else:
            m.d.comb += [
                self.o.payload.eq(queue.r_data),
                self.o.valid.eq(queue.r_rdy),
                queue.r_en.eq(self.o.ready),
            ]
        return m
