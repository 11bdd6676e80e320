"""The maximum over windows: :class:`~hwgen.overlay.isa.Pool`."""

from typing import Any

from amaranth import Cat, Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In

from ..engine import Engine
from ..isa import Pool
from .loops import Loops
from .scratchpad import VECTOR_LATENCY
from .words import Target, delayed, fields_of, instruction_layout, reader_members, rest

__all__ = ["PoolUnit"]


class PoolUnit(wiring.Component):
    """``lanes`` channels at a time, an element of the window in each cycle.

    Members
    -------
    as of :func:`.reader_members`; reads wait for ``ready``
    """

    def __init__(self, engine: Engine):
        self.engine = engine
        super().__init__(reader_members(engine, Pool) | {"ready": In(1)})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        e = self.engine
        bits = e.lanes.bit_length() - 1
        new, d = fields_of(Pool, self.i.payload), Signal(instruction_layout(Pool))
        active, take, go, ends = Signal(), Signal(), Signal(), Signal()
        words = Signal(12)  # of a position
        m.d.sync += words.eq((new.channels + e.lanes - 1) >> bits)
        m.submodules.loops = loops = Loops(e.address_bits, (5, 5, 12, 10, 10), ways=2)
        first, last = loops.fresh[1], loops.inner[2]  # of the window
        m.d.comb += [
            self.i.ready.eq(~active),
            take.eq(self.i.valid & self.i.ready),
            loops.start.eq(take),
            loops.next.eq(go),
            loops.count.eq(Cat(new.kernel_x, new.kernel_y, words, new.x_count, new.y_count)),
            loops.base[0].eq(new.source),
            loops.base[1].eq(new.target),
            *(
                s.eq(a)
                for s, a in zip(
                    loops.step[0], (new.kernel_x_step, new.kernel_y_step, e.lanes, new.x_step, new.y_step), strict=True
                )
            ),
            *(s.eq(a) for s, a in zip(loops.step[1], (0, 0, e.lanes, new.target_x_step, new.target_y_step), strict=True)),
            self.valid.eq(active),
            self.address.eq(loops.address[0]),
            go.eq(self.valid & self.ready),
            ends.eq(go & loops.inner[-1]),
            self.issued.eq(go & first),
        ]
        with m.If(take):
            m.d.sync += [d.eq(new), active.eq(1)]
        with m.Elif(ends):
            m.d.sync += active.eq(0)

        target = Signal(Target(e))
        m.d.comb += [
            target.address.eq(loops.address[1]),
            target.count.eq(Mux(loops.inner[3], rest(d.channels, e.lanes), e.lanes)),
            target.ends.eq(ends),
            target.signal.eq(d.signal),
        ]
        arrived = delayed(m, Cat(go, first), VECTOR_LATENCY + 1, "arrived")
        m.d.comb += [
            self.results.valid.eq(delayed(m, go & last, VECTOR_LATENCY + 2, "valid")),
            self.results.target.eq(
                data.View(Target(e), delayed(m, target.as_value(), VECTOR_LATENCY + 2, "target", reset_less=True))
            ),
        ]
        for lane in range(e.lanes):
            x, highest = (Signal(signed(8), name=f"{name}_{lane}", reset_less=True) for name in ("x", "highest"))
            m.d.sync += x.eq(self.x[lane].as_signed())
            with m.If(arrived[0] & (arrived[1] | (x > highest))):
                m.d.sync += highest.eq(x)
            m.d.comb += self.results.data[lane].eq(highest)
        return m
