"""Fork: the same words to several branches."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from amaranth import Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..cost import BLOCKS_18K, Cost, Memories, Resources
from ..streams import Stream, Words, serve

__all__ = ["Fork", "ForkParams"]


@dataclass(frozen=True, kw_only=True)
class ForkParams:
    """Each word goes to all branches; each takes it when it can, and the next one follows when all have.

    Parameters
    ----------
    stream
        What it carries.
    branches
        How many outputs; at least two.
    """

    stream: Stream
    branches: int

    def __post_init__(self) -> None:
        if self.branches < 2:
            raise ValueError(f"branches must be at least 2, not {self.branches!r}")

    @property
    def inputs(self) -> tuple[Stream, ...]:
        return (self.stream,)

    @property
    def outputs(self) -> tuple[Stream, ...]:
        return (self.stream,) * self.branches

    def compute(self, words: Words) -> tuple[Words, ...]:
        return (words,) * self.branches

    def departures(self, arrivals: np.ndarray) -> tuple[np.ndarray, ...]:
        return (serve(arrivals) + 1,) * self.branches

    def needed(self, k: Any, port: int = 0) -> Any:
        return k + 1

    def accepted(self, k: Any, port: int = 0) -> Any:
        return k + 1

    def cost(self, memories: Memories = BLOCKS_18K) -> Cost:
        """One register for the word, a flag for each branch, and the tree that joins the flags."""
        flags = 8 * self.branches - 9  # each depends on all branches
        return Cost(cycles=self.stream.words, resources=Resources(lut=flags, ff=self.stream.bits + self.branches))

    def create(self) -> "Fork":
        return Fork(self)


class Fork(wiring.Component):
    """Hardware for :class:`ForkParams`: one register, and for each branch whether it has yet to take the word.

    No output depends on another branch's ``ready`` within a cycle, so branches that meet again make no loop.

    Members
    -------
    i, o0, o1, ... : streams of ``params.stream``
    """

    def __init__(self, params: ForkParams):
        self.params = params
        outputs = {f"o{n}": Out(params.stream.signature) for n in range(params.branches)}
        super().__init__({"i": In(params.stream.signature), **outputs})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        outputs = [getattr(self, f"o{n}") for n in range(self.params.branches)]
        word = Signal(self.params.stream.layout)
        waiting = Signal(self.params.branches)  # branches that have yet to take the word
        m.d.comb += self.i.ready.eq((waiting & ~Cat(o.ready for o in outputs)) == 0)
        for n, o in enumerate(outputs):
            m.d.comb += [o.payload.eq(word), o.valid.eq(waiting[n])]
            with m.If(o.ready):
                m.d.sync += waiting[n].eq(0)
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [word.eq(self.i.payload), waiting.eq(~0)]
        return m
