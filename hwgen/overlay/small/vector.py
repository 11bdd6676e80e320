"""Tables added up, and maxima: what the sequential engine does with bytes of the scratchpad, ``SLOTS`` cycles for each."""

from typing import Any

from amaranth import Array, Cat, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..isa import SHIFTS
from ..units.words import UNCHECKED
from .sequencer import Round
from .words import RULES

__all__ = ["SequentialVector"]

TABLES = 512  #: entries of both


class SequentialVector(wiring.Component):
    """What comes of the bytes that are read in an element's first two slots.

    Members
    -------
    round, byte : what has been read
    combines : by tables, else the maximum
    rules : of the instruction
    phase : of the slots, three cycles ahead of ``round``
    result : from thirteen to sixteen cycles after the element's first byte
    write, entry, word : of the tables
    """

    def __init__(self) -> None:
        super().__init__(
            {
                "round": In(Round),
                "byte": In(signed(8)),
                "combines": In(1),
                "rules": In(RULES),
                "phase": In(2),
                "result": Out(signed(8)),
                "write": In(1),
                "entry": In(range(TABLES)),
                "word": In(32),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        rules = self.rules
        m.submodules.tables = tables = Memory(shape=signed(32), depth=TABLES, init=[], attrs=UNCHECKED)
        read, write = tables.read_port(), tables.write_port()
        m.d.comb += [
            read.addr.eq(Cat(self.byte[:-1], ~self.byte[-1], self.round.slot[0])),
            write.addr.eq(self.entry),
            write.data.eq(self.word),
            write.en.eq(self.write),
        ]
        first, second = Signal(), Signal()
        total = Signal(signed(33), reset_less=True)
        m.d.sync += [first.eq(self.round.slot == 0), second.eq((self.round.slot == 1) & ~rules.single)]
        with m.If(first | second):
            m.d.sync += total.eq(Mux(first, 0, total) + read.data)

        highest = Signal(signed(8), reset_less=True)
        with m.If((self.round.slot == 0) & (self.round.opens | (self.byte > highest))):
            m.d.sync += highest.eq(self.byte)

        # Three registers, each for the four cycles of an element.
        quotient = Array(total >> shift for shift in SHIFTS)[rules.shift]
        gives = rules.tie & ~(total[: max(SHIFTS)] & rules.mask).any() & (quotient[0] == rules.odd)
        whole, way = Signal(signed(33 - min(SHIFTS)), reset_less=True), Signal(reset_less=True)
        limited = Signal(signed(8), reset_less=True)
        rounded = whole - way
        with m.If(self.phase == 3):
            m.d.sync += [
                whole.eq(Mux(self.combines, quotient, highest)),
                way.eq(self.combines & gives),
                limited.eq(Mux(rounded < rules.lo, rules.lo, Mux(rounded > rules.hi, rules.hi, rounded))),
                self.result.eq(limited),
            ]
        return m
