"""Two tables added up: :class:`~hwgen.overlay.isa.Combine`."""

from typing import Any

from amaranth import Cat, Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory

from ..engine import Engine
from ..isa import SHIFTS, Combine
from .loops import Loops
from .scratchpad import VECTOR_LATENCY
from .words import UNCHECKED, Target, chunk, delayed, fields_of, instruction_layout, reader_members, rest, tables_side

__all__ = ["CombineUnit"]

LOOKUP = 6  #: cycles from operands to results: memory, its register, sum, quotient, rounding, limits


class CombineUnit(wiring.Component):
    """``lanes`` pairs of tables. The operands are read one after the other.

    Members
    -------
    as of :func:`.reader_members`, and of :func:`.tables_side`: two tables of 256 entries
    """

    def __init__(self, engine: Engine):
        self.engine = engine
        super().__init__(reader_members(engine, Combine) | tables_side())

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        e = self.engine
        bits = e.lanes.bit_length() - 1
        new, d = fields_of(Combine, self.i.payload), Signal(instruction_layout(Combine))
        active, second = Signal(), Signal()  # second: the next read is of the second operand
        take, go, asked, ends = Signal(), Signal(), Signal(), Signal()
        single, next_single = Signal(), Signal()
        m.submodules.loops = loops = Loops(e.address_bits, (16, 12), ways=3)
        words = Signal(16)  # in a row
        m.d.sync += [words.eq((new.x_count + e.lanes - 1) >> bits), next_single.eq(new.single)]
        m.d.comb += [
            self.i.ready.eq(~active),
            take.eq(self.i.valid & self.i.ready),
            loops.start.eq(take),
            loops.next.eq(go),
            loops.count.eq(Cat(words, new.y_count)),
            *(base.eq(a) for base, a in zip(loops.base, (new.source0, new.source1, new.target), strict=True)),
            *(step[0].eq(e.lanes) for step in loops.step),
            *(step[1].eq(s) for step, s in zip(loops.step, (new.y_step0, new.y_step1, new.y_step), strict=True)),
            self.valid.eq(asked),
            self.address.eq(Mux(second, loops.address[1], loops.address[0])),
            ends.eq(go & loops.inner[-1]),
            self.issued.eq(asked & ~second),
        ]
        with m.If(take):
            m.d.sync += [d.eq(new), single.eq(next_single)]
        # Whether an operand is read, and whether it is the last one of a result, is settled a cycle before.
        latency = VECTOR_LATENCY + 1 + LOOKUP
        result_soon = delayed(m, go, latency - 1, "soon")
        active_soon, second_soon = take | (active & ~ends), Mux(asked, ~go, second)
        asked_soon = active_soon & ~result_soon
        m.d.sync += [
            active.eq(active_soon),
            second.eq(second_soon),
            asked.eq(asked_soon),
            go.eq(asked_soon & (second_soon | Mux(take, next_single, single))),
        ]

        target = Signal(Target(e))
        m.d.comb += [
            target.address.eq(loops.address[2]),
            target.count.eq(Mux(loops.inner[1], rest(d.x_count, e.lanes), e.lanes)),
            target.ends.eq(ends),
            target.signal.eq(d.signal),
        ]
        # Operands wait for each other.
        arrived = delayed(m, Cat(asked, second), VECTOR_LATENCY, "arrived")
        operands = [Signal(chunk(1, e.lanes), name=f"operand_{k}", reset_less=True) for k in range(2)]
        for k, operand in enumerate(operands):
            with m.If(arrived[0] & (arrived[1] == k)):
                m.d.sync += [a.eq(b) for a, b in zip(operand, self.x, strict=False)]
        m.d.comb += [
            self.results.valid.eq(delayed(m, result_soon, 1, "valid")),
            self.results.target.eq(data.View(Target(e), delayed(m, target.as_value(), latency, "target", reset_less=True))),
        ]
        # Nothing of an instruction changes until the results of the one before are written.
        above, window = Signal(5), Signal(max(SHIFTS))
        inside, deciding = Signal(max(SHIFTS)), Signal(max(SHIFTS))  # bits of the fraction; those that decide on a tie
        ties = Signal()
        m.d.comb += inside.eq(~0)
        for k, shift in enumerate(SHIFTS[:-1]):
            with m.If(d.shift[1:3] == k):
                m.d.comb += inside.eq((1 << shift) - 1)
        m.d.sync += [
            above.eq(d.window - 1), window.eq(~((1 << above) - 1)), deciding.eq(window & inside), ties.eq(d.window != 0),
        ]  # fmt: skip
        for lane in range(e.lanes):
            found = []
            for k, operand in enumerate(operands):
                m.submodules[f"table_{lane}_{k}"] = table = Memory(shape=signed(32), depth=256, init=[], attrs=UNCHECKED)
                read, write = table.read_port(), table.write_port()
                value = Signal(signed(32), name=f"found_{lane}_{k}", reset_less=True)
                m.d.comb += [
                    read.addr.eq(operand[lane] ^ 0x80),
                    write.addr.eq(self.write_entry[:8]),
                    write.data.eq(self.write_data),
                    write.en.eq(self.write & (self.write_entry[8] == k)),
                ]
                m.d.sync += value.eq(read.data)
                found.append(value)
            m.d.comb += self.results.data[lane].eq(self._rounded(m, lane, found, d, deciding, ties))
        return m

    def _rounded(self, m: Module, lane: int, found: list[Signal], d: Any, deciding: Signal, ties: Signal) -> Signal:
        total = Signal(signed(33), name=f"total_{lane}", reset_less=True)
        m.d.sync += total.eq(found[0] + Mux(d.single, 0, found[1]))
        place = d.shift[1:3]
        quotients = [total >> shift for shift in SHIFTS]
        near = Mux(place[0], quotients[1], quotients[0]), Mux(place[0], quotients[3], quotients[2])
        quotient = Mux(place[1], near[1], near[0])
        whole = Signal(signed(33 - min(SHIFTS)), name=f"whole_{lane}", reset_less=True)
        half = Signal(name=f"half_{lane}", reset_less=True)  # so far from ``whole`` that this may be one too many
        m.d.sync += [whole.eq(quotient), half.eq(ties & ~(total[: max(SHIFTS)] & deciding).any())]
        tie = half & (whole[0] == d.odd)
        rounded = Signal(signed(33 - min(SHIFTS) + 1), name=f"rounded_{lane}", reset_less=True)
        m.d.sync += rounded.eq(whole - tie)
        result = Signal(signed(8), name=f"result_{lane}", reset_less=True)
        m.d.sync += result.eq(Mux(rounded < d.lo, d.lo, Mux(rounded > d.hi, d.hi, rounded)))
        return result
