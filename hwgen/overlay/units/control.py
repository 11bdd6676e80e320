"""What a system on chip is told of the engine: frames, and bursts at the memory's bus."""

from typing import Any

from amaranth import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["Bursts", "FrameState"]

OUTSTANDING = 8  #: bits of a number of bursts


class Bursts(wiring.Component):
    """Bursts of one direction under way, and whether another one may begin.

    Members
    -------
    close : none is to begin; an address that is on the bus stays until it is taken
    offered, taken : an address is there, the bus takes it
    ended : for one cycle, with the last that a burst gets
    passes : addresses are on the bus
    quiet : no burst is under way
    """

    def __init__(self) -> None:
        seen = dict.fromkeys(("close", "offered", "taken", "ended"), In(1))
        super().__init__(seen | {"passes": Out(1), "quiet": Out(1)})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        number, held = Signal(OUTSTANDING), Signal()
        begins = self.offered & self.passes & self.taken
        m.d.comb += [
            self.passes.eq(held | ~(self.close | number.all())),
            self.quiet.eq((number == 0) & ~held),
        ]
        m.d.sync += [held.eq(self.offered & self.passes & ~self.taken), number.eq(number + begins - self.ended)]
        return m


class FrameState(wiring.Component):
    """What becomes of frames.

    Members
    -------
    asked : a frame is to begin
    able : nothing but a frame under way stands against it
    begins : it begins; ``start`` a cycle later, for the engine
    done : the engine's
    busy, ended, refused, frames, latency : as :class:`~hwgen.overlay.soc_top.Register` says
    """

    def __init__(self) -> None:
        seen, bits = dict.fromkeys(("asked", "able", "done"), In(1)), ("begins", "start", "busy", "ended", "refused")
        super().__init__(seen | dict.fromkeys(bits, Out(1)) | {"frames": Out(32), "latency": Out(32)})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        timer = Signal(32)
        m.d.comb += self.begins.eq(self.asked & self.able & ~self.busy)
        m.d.sync += [self.start.eq(self.begins), timer.eq(timer + 1)]
        with m.If(self.start):
            m.d.sync += timer.eq(1)
        with m.If(self.begins):
            m.d.sync += [self.busy.eq(1), self.ended.eq(0), self.refused.eq(0)]
        with m.Elif(self.asked):
            m.d.sync += self.refused.eq(1)
        with m.If(self.done):
            m.d.sync += [self.busy.eq(0), self.ended.eq(1), self.frames.eq(self.frames + 1), self.latency.eq(timer)]
        return m
