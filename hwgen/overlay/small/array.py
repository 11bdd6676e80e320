"""Products of the sequential engine, added up in its multipliers, and the memory of their sums."""

from typing import Any

from amaranth import Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..engine import SUM_BITS, Engine
from ..units.words import UNCHECKED, delayed
from .sequencer import Round

__all__ = ["SequentialArray"]


class SequentialArray(wiring.Component):
    """An activation, or one for each column, times an entry of the weights: added to the sums of a position.

    Members
    -------
    round, multiplies : what comes in this cycle, and whether it is of a Multiply; else sums are only read
    first, together, apart : rules of a Multiply
    word, byte : of the scratchpad, what is there and the byte that is addressed
    weights : the entry
    target : of the sums that are made
    entry : of the sums to read
    sums : a cycle later
    """

    def __init__(self, engine: Engine):
        self.engine = engine
        columns = engine.columns
        entry = range(engine.sums)
        super().__init__(
            {
                "round": In(Round),
                "multiplies": In(1),
                "first": In(1),
                "together": In(1),
                "apart": In(1),
                "word": In(data.ArrayLayout(signed(8), columns)),
                "byte": In(signed(8)),
                "weights": In(data.ArrayLayout(signed(8), columns)),
                "target": In(entry),
                "entry": In(entry),
                "sums": Out(data.ArrayLayout(signed(SUM_BITS), columns)),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        e = self.engine
        # Sums that begin anew are read from an entry that nothing writes; entry 0 is not zero, so that the others stay zeros.
        empty = 2 * e.sums - 1
        shape = data.ArrayLayout(signed(SUM_BITS), e.columns)
        m.submodules.memory = memory = Memory(shape=shape, depth=empty + 1, init=[[1] * e.columns], attrs=UNCHECKED)
        read, write = memory.read_port(), memory.write_port()
        anew = self.multiplies & self.first
        m.d.comb += [
            read.addr.eq(Mux(self.multiplies, self.target, self.entry) | anew.replicate(len(read.addr))),
            self.sums.eq(read.data),
        ]
        begins, adds, written = Signal(), Signal(), Signal()
        live = self.multiplies & self.round.valid
        m.d.sync += [
            begins.eq(live & self.round.sums),
            adds.eq(live & ~self.round.sums & self.round.last),
            written.eq(live & ~self.round.sums & self.round.position),
            write.en.eq(written),
        ]
        m.d.comb += write.addr.eq(delayed(m, self.target, 2, "target"))
        for k in range(e.columns):
            activation, weight = (Signal(signed(8), name=f"{what}_{k}", reset_less=True) for what in ("activation", "weight"))
            total = Signal(signed(SUM_BITS), name=f"total_{k}", reset_less=True)
            with m.If(~self.apart | (self.round.slot == k)):
                m.d.sync += activation.eq(Mux(self.together, self.word[k], self.byte))
            m.d.sync += weight.eq(self.weights[k])
            with m.If(begins):
                m.d.sync += total.eq(read.data[k])
            with m.Elif(adds):
                m.d.sync += total.eq(total + activation * weight)
            m.d.comb += write.data[k].eq(total)
        return m
