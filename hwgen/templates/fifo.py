"""First-in first-out buffer: lets one branch of a fork run ahead of the other."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from amaranth import Module
from amaranth.lib import fifo, wiring
from amaranth.lib.wiring import In, Out

from ..cost import BLOCKS_18K, Cost, Memories, Resources
from ..streams import Stream, Words, serve

__all__ = ["Fifo", "FifoParams"]


@dataclass(frozen=True, kw_only=True)
class FifoParams:
    """A buffer of ``depth`` words.

    Parameters
    ----------
    stream
        What it carries.
    depth
        Words held at most; 3 suffice to cut a path of ready signals without losing a cycle.
    """

    stream: Stream
    depth: int

    def __post_init__(self) -> None:
        if self.depth < 3:
            raise ValueError(f"depth must be at least 3, not {self.depth!r}")

    @property
    def inputs(self) -> tuple[Stream, ...]:
        return (self.stream,)

    @property
    def outputs(self) -> tuple[Stream, ...]:
        return (self.stream,)

    def compute(self, words: Words) -> Words:
        return words

    def departures(self, arrivals: np.ndarray) -> np.ndarray:
        """A word leaves two cycles after it came: written, then read into the output register."""
        return serve(arrivals + self.latency)

    @property
    def latency(self) -> int:
        """Cycles through an empty buffer."""
        return 2

    def needed(self, k: Any, port: int = 0) -> Any:
        return k + 1

    def accepted(self, k: Any, port: int = 0) -> Any:
        return k + self.depth

    def cost(self, memories: Memories = BLOCKS_18K) -> Cost:
        """Modelled: addresses to read and to write, and how many words there are.

        Yosys chooses what the memory is made of (:meth:`hwgen.cost.Memories.chosen`). Block RAM does not say what a word is
        that is read while it is written: registers for what was written before, and a multiplexer, do.
        """
        address, bits = (self.depth - 2).bit_length(), self.stream.bits  # one word is in the output register
        words = memories.chosen(self.depth - 1, bits)
        counters = Resources(lut=6 * address + (35 if address > 4 else 12), ff=2 * address + (self.depth - 1).bit_length() + 1)
        if words.bram:
            words += Resources(lut=bits, ff=2 * bits + address + 2)
        return Cost(cycles=self.stream.words, resources=words + counters)

    def create(self) -> "Fifo":
        return Fifo(self)


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
        m.submodules.fifo = queue = fifo.SyncFIFOBuffered(width=self.params.stream.bits, depth=self.params.depth)
        m.d.comb += [
            queue.w_data.eq(self.i.payload),
            queue.w_en.eq(self.i.valid),
            self.i.ready.eq(queue.w_rdy),
            self.o.payload.eq(queue.r_data),
            self.o.valid.eq(queue.r_rdy),
            queue.r_en.eq(self.o.ready),
        ]
        return m
