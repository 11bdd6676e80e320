"""Requantising sums: :class:`~hwgen.overlay.isa.Drain`."""

from typing import Any

from amaranth import Cat, Const, Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ..engine import SUM_BITS, Engine
from ..exact import MULT_BITS
from ..isa import Drain
from .loops import Loops
from .requantiser import Lane, Rounding, Rules, latency
from .sums import LATENCY, vector_side
from .words import Results, Target, delayed, fields_of, instruction_layout, instructions, rest

__all__ = ["DrainUnit", "scales_side"]

SCALES_LATENCY = 3  #: cycles from an entry's number to a word of it: its address at the memories, these, their registers
START = max(SCALES_LATENCY, LATENCY) + 1  #: cycles until a lot is in the lanes


def scales_side(engine: Engine) -> dict[str, wiring.Member]:
    """Members of a unit that reads scales: multipliers, and offsets, which are wanted later."""
    entry = range(engine.scales // engine.lanes)
    return {
        "mults_address": Out(entry), "mults": In(data.ArrayLayout(unsigned(MULT_BITS), engine.lanes)),
        "offsets_address": Out(entry), "offsets": In(data.ArrayLayout(signed(64), engine.lanes)),
    }  # fmt: skip


class DrainUnit(wiring.Component):
    """``lanes`` requantisers. A position's sums are read once, then shifted through them, ``steps`` cycles for each lot.

    They are read a position ahead, as the memory may let them wait for a cycle.

    Members
    -------
    i : instructions; the next one is taken when all lots of this one are on their way
    free, valid, entry, data : of the memory of sums
    mults_address, mults, offsets_address, offsets : words of ``lanes`` scales' parts, ``SCALES_LATENCY`` cycles later
    issued : one has begun
    results : what is to be written
    """

    def __init__(self, engine: Engine):
        self.engine = engine
        super().__init__(
            {
                "i": In(instructions(Drain)),
                **vector_side(engine),
                **scales_side(engine),
                "issued": Out(1),
                "results": Out(Results(engine)),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        e = self.engine
        lane_bits = e.lanes.bit_length() - 1
        kind = instruction_layout(Drain)
        new, d = fields_of(Drain, self.i.payload), Signal(kind)
        active, entry, step = Signal(), Signal(range(e.sums)), Signal(3)
        free, idle = Signal(), Signal(init=1)  # no lot is being shifted, and an instruction is there, or none is
        scales, first_scales = (Signal.like(self.mults_address, name=name) for name in ("scales", "first_scales"))
        m.submodules.loops = loops = Loops(e.address_bits, (8, 12, 12))
        go, ends, take = Signal(), Signal(), Signal()
        have = Signal()  # the sums of the next position are here, or will be when they are wanted
        single = Signal()  # a lot takes one step
        read = self.valid
        opens, lots_end = loops.fresh[0], loops.inner[1]  # the first lot of a position, the last one
        lots = Signal(8)
        m.d.sync += [lots.eq((new.channels + e.lanes - 1) >> lane_bits), first_scales.eq(new.scales >> lane_bits)]
        m.d.comb += [
            ends.eq(go & loops.inner[-1]),
            self.i.ready.eq(idle),
            take.eq(self.i.valid & self.i.ready),
            self.entry.eq(entry),
            self.mults_address.eq(scales),
            self.offsets_address.eq(delayed(m, scales, START - SCALES_LATENCY + e.lane_stages, "offsets", reset_less=True)),
            self.issued.eq(go),
            loops.start.eq(take),
            loops.next.eq(go),
            loops.base[0].eq(new.target),
            loops.count.eq(Cat(lots, new.x_count, new.y_count)),
            loops.step[0][0].eq(e.lanes),
            loops.step[0][1].eq(new.x_step),
            loops.step[0][2].eq(new.y_step),
        ]
        with m.If(step != 0):
            m.d.sync += step.eq(step - 1)
        bank = Mux(idle, new.sums[0], entry[0] ^ read)  # of the entry in the next cycle
        with m.If(idle):  # whether there is an instruction or not
            m.d.sync += [d.eq(new), single.eq(new.steps == 1), entry.eq(new.sums), scales.eq(first_scales)]
        with m.Elif(read):
            m.d.sync += entry.eq(entry + 1)
        with m.If(go):
            m.d.sync += [step.eq(d.steps - 1), scales.eq(Mux(lots_end, d.scales >> lane_bits, scales + 1))]
        # Whether a lot begins, and whether sums are asked for, is settled a cycle before, as much hangs on it.
        soon = {name: Signal(name=f"{name}_soon") for name in ("active", "have", "free")}
        over, stepped = loops.inner[-1], step[1:] == 0
        m.d.comb += [
            soon["active"].eq(take | Mux(go, ~over, active)),
            soon["have"].eq(~take & (read | (have & ~(go & opens)))),
            soon["free"].eq(Mux(go, single & ~over, take | (active & stepped))),
        ]
        m.d.sync += [
            active.eq(soon["active"]),
            have.eq(soon["have"]),
            free.eq(soon["free"]),
            idle.eq(Mux(go, single & over, ~take & ~active & stepped)),
            go.eq(soon["free"] & (~loops.coming[0] | soon["have"])),
            self.valid.eq(soon["active"] & (~soon["have"] | (soon["free"] & loops.coming[0])) & self.free.bit_select(bank, 1)),
        ]

        # What goes with a lot, from its first to its last step, and the rules of its instruction.
        here, held = Signal(Target(e)), Signal(Target(e))
        m.d.comb += [
            here.address.eq(loops.address[0]),
            here.count.eq(Mux(lots_end, rest(d.channels, e.lanes), e.lanes)),
            here.ends.eq(ends),
            here.signal.eq(d.signal),
        ]
        with m.If(go):
            m.d.sync += held.eq(here)
        now = Mux(go, here.as_value(), held.as_value())
        working, complete = go | (step != 0), Mux(go, d.steps == 1, step == 1)

        # Scales and sums of the lanes.
        opening, load = delayed(m, go & opens, START - 1, "opening"), delayed(m, go, START - 1, "load")
        width = -(-e.columns // e.lanes) * e.lanes
        hold = [Signal(signed(SUM_BITS), name=f"hold_{c}", reset_less=True) for c in range(width)]
        following = Signal(self.data.shape(), reset_less=True)
        sums = [following[c] if c < e.columns else Const(0) for c in range(width)]
        with m.If(delayed(m, read, LATENCY, "read")):
            m.d.sync += following.eq(self.data)
        with m.If(load):
            m.d.sync += [
                h.eq(Mux(opening, s, n)) for h, s, n in zip(hold, sums, [*hold[e.lanes :], *[0] * e.lanes], strict=True)
            ]

        begins, valid, last = (
            delayed(m, value, START, name) for name, value in (("begins", go), ("valid", working), ("last", complete))
        )
        place = d.shift - 2 - (e.digit // 4) * (d.steps - 1)
        rounding = Cat(place[:2], d.zero, (d.lo - d.zero)[:9], (d.hi - d.zero)[:9], d.lo, d.hi)
        rounding = data.View(Rounding(), delayed(m, rounding, START, "rounding", reset_less=True))
        m.submodules.rules = rules = Rules(e)
        m.d.comb += rules.of_last_step.eq(rounding)
        for n in range(e.lanes):
            lane = Lane(e)
            m.submodules[f"lane_{n}"] = lane
            m.d.comb += [
                lane.load.eq(load),
                lane.mult.eq(self.mults[n]),
                lane.offset.eq(self.offsets[n]),
                lane.begin.eq(begins),
                lane.valid.eq(valid),
                lane.sum.eq(hold[n]),
                *(getattr(lane, name).eq(getattr(rules, name)) for name in ("place", "limits", "ends")),
                self.results.data[n].eq(lane.result),
            ]
        m.d.comb += [
            self.results.valid.eq(delayed(m, last, latency(e), "results")),
            self.results.target.eq(data.View(Target(e), delayed(m, now, START + latency(e), "target", reset_less=True))),
        ]
        return m
