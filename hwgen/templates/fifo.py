"""First-in first-out buffer: lets one branch of a fork run ahead of the other."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from amaranth import Module, Mux, Signal, Value, unsigned
from amaranth.lib import fifo, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..cost import BLOCKS_18K, Cost, Memories, Resources
from ..streams import Stream, Words, serve

__all__ = ["Fifo", "FifoParams", "fifo_of"]

LARGE = 32  #: words of a memory that may be block RAM
REGISTERS = 2  #: words that a registered buffer holds behind its memory


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
        Whether there are registers before and behind the memory, as block RAM is slow and its blocks are far from each other.
    """

    stream: Stream
    depth: int
    registered: bool = False

    def __post_init__(self) -> None:
        least = 6 if self.registered else 3
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
        """A word leaves two cycles after it came: written, read into the output register; four with registers round that."""
        return serve(arrivals + self.latency)

    @property
    def latency(self) -> int:
        """Cycles through an empty buffer."""
        return 4 if self.registered else 2

    def needed(self, k: Any, port: int = 0) -> Any:
        return k + 1

    def accepted(self, k: Any, port: int = 0) -> Any:
        return k + self.depth

    def cost(self, memories: Memories = BLOCKS_18K) -> Cost:
        """Modelled: addresses to read and to write, and how many words there are, twice where it is registered.

        Yosys chooses what the memory is made of (:meth:`hwgen.cost.Memories.chosen`). Block RAM does not say what a word is
        that is read while it is written: registers for what was written before, and a multiplexer, do, unless it is registered.
        """
        bits = self.stream.bits
        if self.registered:
            stored = self.depth - REGISTERS
            address = (stored - 1).bit_length()
            words = memories.chosen(stored, bits, bypass=False) + Resources(ff=bits)  # block RAM has one behind
            counters = Resources(lut=4 * address + 38, ff=2 * address + 2 * stored.bit_length() + 5)
            if not words.bram or words.lut:
                words += Resources(ff=bits)
        else:
            stored = self.depth - 1  # the word in the output register is elsewhere
            address = (stored - 1).bit_length()
            words = memories.chosen(stored, bits)
            counters = Resources(lut=6 * address + (35 if address > 4 else 12), ff=2 * address + stored.bit_length() + 1)
            if words.bram:
                words += Resources(lut=bits, ff=2 * bits + address + 2)
        return Cost(cycles=self.stream.words, resources=words + counters)

    def create(self) -> "Fifo":
        return Fifo(self)


def fifo_of(stream: Stream, depth: int) -> FifoParams:
    """A buffer of at least so many words; where its memory is large with registers, and a word for each cycle they take."""
    registered = depth > LARGE
    return FifoParams(stream=stream, depth=depth + 2 if registered else max(3, depth), registered=registered)


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
        if p.registered:
            self._registered(m)
            return m
        m.submodules.fifo = queue = fifo.SyncFIFOBuffered(width=p.stream.bits, depth=p.depth)
        m.d.comb += [
            queue.w_data.eq(self.i.payload),
            queue.w_en.eq(self.i.valid),
            self.i.ready.eq(queue.w_rdy),
            self.o.payload.eq(queue.r_data),
            self.o.valid.eq(queue.r_rdy),
            queue.r_en.eq(self.o.ready),
        ]
        return m

    def _registered(self, m: Module) -> None:
        """Registers before and behind the memory, and before all that counts.

        ``taken``: a word is on its way to the memory, ``held``: one is read. ``waiting`` words are in the memory, where the
        reader finds them from the cycle after they were written on; ``used`` have a place there. Both count a word that is read
        until the cycle after that (``gone``).
        """
        size, bits = self.params.depth - REGISTERS, self.params.stream.bits
        m.submodules.storage = storage = Memory(shape=unsigned(bits), depth=size, init=[], attrs={"no_rw_check": 1})
        put, get = storage.write_port(), storage.read_port()
        before, word = Signal(bits, reset_less=True), Signal(bits, reset_less=True)
        take, taken, read, gone, held, free, some, full = (
            Signal(name=name) for name in ("take", "taken", "read", "gone", "held", "free", "some", "full")
        )
        waiting, used = Signal(range(size + 1)), Signal(range(size + 1))
        m.d.comb += [
            self.i.ready.eq(~full),
            take.eq(self.i.valid & ~full),
            put.en.eq(taken),
            put.data.eq(before),
            free.eq(~self.o.valid | self.o.ready),
            read.eq(some & (~held | free)),
            get.en.eq(read),
            Value.cast(self.o.payload).eq(word),
        ]
        m.d.sync += [
            taken.eq(take),
            gone.eq(read),
            before.eq(self.i.payload),
            held.eq(read | (held & ~free)),
            waiting.eq(waiting + taken - gone),
            used.eq(used + take - gone),
            some.eq(taken | (waiting > 2) | ((waiting == 2) & ~(gone & read)) | ((waiting == 1) & ~gone & ~read)),
            full.eq(~gone & (full | (take & (used == size - 1)))),
        ]
        with m.If(taken):
            m.d.sync += put.addr.eq(Mux(put.addr == size - 1, 0, put.addr + 1))
        with m.If(read):
            m.d.sync += get.addr.eq(Mux(get.addr == size - 1, 0, get.addr + 1))
        with m.If(free):
            m.d.sync += [self.o.valid.eq(held), word.eq(get.data)]
