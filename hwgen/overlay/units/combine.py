"""Two tables added up: :class:`~hwgen.overlay.isa.Combine`."""

from typing import Any

from amaranth import Cat, Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..engine import Engine
from ..isa import SHIFTS, Combine
from .loops import Loops
from .scratchpad import LATENCY
from .words import Results, Target, chunk, delayed, fields_of, instruction_layout, instructions, rest

__all__ = ["CombineUnit"]

LOOKUP = 5  #: cycles from operands to results: memory, its register, sum, quotient, limits


class CombineUnit(wiring.Component):
    """``lanes`` pairs of tables. The operands are read one after the other.

    Members
    -------
    i : instructions
    valid, ready, address : reads of the scratchpad
    x : the bytes, `LATENCY` cycles later
    write, write_entry, write_data : of the tables, 256 entries each
    room, issued, results : as of :class:`~hwgen.overlay.units.drain.DrainUnit`
    """

    def __init__(self, engine: Engine):
        self.engine = engine
        super().__init__(
            {
                "i": In(instructions(Combine)),
                "valid": Out(1),
                "ready": In(1),
                "address": Out(engine.address_bits),
                "x": In(chunk(1, engine.banks)),
                "write": In(1),
                "write_entry": In(9),
                "write_data": In(signed(32)),
                "room": In(1),
                "issued": Out(1),
                "results": Out(Results(engine)),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        e = self.engine
        bits = e.lanes.bit_length() - 1
        kind = instruction_layout(Combine)
        new, d = fields_of(Combine, self.i.payload), Signal(kind)
        active, second = Signal(), Signal()  # second: the next read is of the second operand
        take, go, asked, ends = Signal(), Signal(), Signal(), Signal()
        v = data.View(kind, Mux(take, new.as_value(), d.as_value()))
        m.submodules.loops = loops = Loops(e.address_bits, (16, 12), ways=3)
        m.d.comb += [
            self.i.ready.eq(~active),
            take.eq(self.i.valid & self.i.ready),
            loops.start.eq(take),
            loops.next.eq(go),
            loops.count.eq(Cat(((v.x_count + e.lanes - 1) >> bits)[:16], v.y_count)),
            *(base.eq(a) for base, a in zip(loops.base, (v.source0, v.source1, v.target), strict=True)),
            *(step[0].eq(e.lanes) for step in loops.step),
            *(step[1].eq(s) for step, s in zip(loops.step, (v.y_step0, v.y_step1, v.y_step), strict=True)),
            self.valid.eq(active & (second | self.room)),
            self.address.eq(Mux(second, loops.address[1], loops.address[0])),
            asked.eq(self.valid & self.ready),
            go.eq(asked & (second | d.single)),
            ends.eq(go & loops.last.all()),
            self.issued.eq(asked & ~second),
        ]
        with m.If(asked):
            m.d.sync += second.eq(~go)
        with m.If(take):
            m.d.sync += [d.eq(new), active.eq(1)]
        with m.Elif(ends):
            m.d.sync += active.eq(0)

        target = Signal(Target(e))
        m.d.comb += [
            target.address.eq(loops.address[2]),
            target.count.eq(Mux(loops.last[0], rest(d.x_count, e.lanes), e.lanes)),
            target.ends.eq(ends),
            target.signal.eq(d.signal),
        ]
        # Operands wait for each other.
        arrived = delayed(m, Cat(asked, second), LATENCY, "arrived")
        operands = [Signal(chunk(1, e.lanes), name=f"operand_{k}", reset_less=True) for k in range(2)]
        for k, operand in enumerate(operands):
            with m.If(arrived[0] & (arrived[1] == k)):
                m.d.sync += [a.eq(b) for a, b in zip(operand, self.x, strict=False)]
        m.d.comb += [
            self.results.valid.eq(delayed(m, go, LATENCY + 1 + LOOKUP, "valid")),
            self.results.target.eq(data.View(Target(e), delayed(m, target.as_value(), LATENCY + 1 + LOOKUP, "target"))),
        ]
        # Nothing of an instruction changes until the results of the one before are written.
        window = Signal(max(SHIFTS))  # bits of the fraction that decide on a tie
        m.d.sync += window.eq(~((1 << (d.window - 1)[:5]) - 1))
        for lane in range(e.lanes):
            found = []
            for k, operand in enumerate(operands):
                m.submodules[f"table_{lane}_{k}"] = table = Memory(shape=signed(32), depth=256, init=[])
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
            m.d.comb += self.results.data[lane].eq(self._rounded(m, lane, found, d, window))
        return m

    def _rounded(self, m: Module, lane: int, found: list[Signal], d: Any, window: Signal) -> Signal:
        total = Signal(signed(33), name=f"total_{lane}", reset_less=True)
        m.d.sync += total.eq(found[0] + Mux(d.single, 0, found[1]))
        place = d.shift[1:3]
        quotients = [total >> shift for shift in SHIFTS]
        near = Mux(place[0], quotients[1], quotients[0]), Mux(place[0], quotients[3], quotients[2])
        quotient = Mux(place[1], near[1], near[0])
        inside = Signal(max(SHIFTS), name=f"inside_{lane}")
        m.d.comb += inside.eq(~0)
        for k, shift in enumerate(SHIFTS[:-1]):
            with m.If(place == k):
                m.d.comb += inside.eq((1 << shift) - 1)
        tie = (d.window != 0) & ~(total[: max(SHIFTS)] & window & inside).any()
        rounded = Signal(signed(33 - min(SHIFTS) + 1), name=f"rounded_{lane}", reset_less=True)
        m.d.sync += rounded.eq(quotient - (tie & (quotient[0] == d.odd)))
        result = Signal(signed(8), name=f"result_{lane}", reset_less=True)
        m.d.sync += result.eq(Mux(rounded < d.lo, d.lo, Mux(rounded > d.hi, d.hi, rounded)))
        return result
