"""The engine for a system on chip: AXI4-Lite for control, AXI4 for memory."""

import hashlib
from functools import cache
from typing import Any

from amaranth import Cat, ClockDomain, ClockSignal, Const, Instance, Module, ResetInserter, ResetSignal, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..hardware import registers, soc_top
from ..hardware.axi_lite import axi_lite_members
from ..hardware.registers import HeldReset, RegisterMap, add_registers, id_words, merged
from ..hardware.verilog import convert
from .engine import Engine
from .isa import Unit
from .simulation import NAME, verilog
from .units.axi import ports
from .units.control import Bursts, FrameState
from .units.fetch import COUNT
from .units.top import ERRORS

__all__ = ["PAGE", "SOC_NAME", "VERSION", "OverlaySocTop", "Register", "design_id", "reference", "soc_verilog"]

SOC_NAME = f"{NAME}_soc"  #: of the module
VERSION = 1  #: of the registers
PAGE = 12  #: bits of an address that are 0 in ``BASE``: no burst crosses 4 KiB


class Register(RegisterMap):
    """Byte addresses of the registers."""

    ID_LOW = registers.ID_LOW
    ID_HIGH = registers.ID_HIGH
    VERSION = registers.VERSION
    CONTROL = (
        0x0C,
        "bit 0: begin a frame, says 0; bit 1: reset, says 1 while the reset goes on: no further burst begins on the memory's "
        "bus, those under way are carried to their end, then the frame and its counts are forgotten",
        True,
    )
    STATUS = (
        0x10,
        "bit 0: busy, a frame is under way; bit 1: done, one has ended and none has begun since; bit 2: refused, a frame was "
        "to begin (nothing happened) while one was under way or INSTRUCTIONS was 0, and none has begun since; "
        f"bits 8..{7 + len(ERRORS)}: errors since the latest frame began: " + ", ".join(ERRORS),
    )
    FRAMES = 0x14, "frames that have ended, with or without error, since reset, modulo 2^32"
    LATENCY = 0x18, "cycles of the latest frame that has ended, from its begin to its end, modulo 2^32"
    BASE = 0x1C, f"address of the image's first byte; its lowest {PAGE} bits are 0, whatever is written", True
    PROGRAM = 0x20, "first byte of the program in the image, a multiple of the bus's bytes", True
    INSTRUCTIONS = 0x24, f"of the program, in {COUNT} bits", True
    INTERRUPT_ENABLE = 0x28, "bit 0: whether a pending interrupt is on the wire", True
    INTERRUPT = 0x2C, "bit 0: pending, a frame has ended; 1 written here clears it", True


class OverlaySocTop(wiring.Component):
    """The engine, module ``overlay`` of its own Verilog file, with registers at an AXI4-Lite bus.

    BASE, PROGRAM and INSTRUCTIONS may be written while a frame is under way: they count from the next one on. A reset by
    register leaves them and INTERRUPT_ENABLE, and the memory's bus in order; one by ``aresetn`` leaves nothing, and what is on
    the other side of the bus has to begin anew as well.

    Parameters
    ----------
    design_id
        Eight bytes: the first of the SHA-256 of the engine's Verilog.

    Members
    -------
    aclk : rising edge
    aresetn : active low, synchronous
    s_axi_* : AXI4-Lite; :class:`Register` has the registers
    m_axi_* : AXI4, addresses of 32 bits
    interrupt : active high, until it is cleared
    """

    def __init__(self, engine: Engine, design_id: bytes):
        self.engine, self.design_id = engine, design_id
        id_words(design_id)
        super().__init__({"aclk": In(1), "aresetn": In(1), **axi_lite_members(), **ports(engine), "interrupt": Out(1)})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.domains.sync = ClockDomain()
        m.d.comb += [ClockSignal().eq(self.aclk), ResetSignal().eq(~self.aresetn)]
        m.submodules.held = held = HeldReset()
        reset = held.reset
        m.submodules.frames = frames = ResetInserter(reset)(FrameState())
        stopping = Signal()  # a reset waits for the bus
        closed = Signal()
        m.d.comb += closed.eq(stopping | reset)

        base = Signal(32 - PAGE)
        program = Signal(32)
        instructions = Signal(COUNT)
        base_now = Signal.like(base)
        error = Signal(len(ERRORS))
        with m.If(frames.begins):
            m.d.sync += base_now.eq(base)
        quiet = self._engine(
            m,
            closed,
            i_rst=reset,
            i_start=frames.start,
            i_base=Cat(Const(0, PAGE), base_now),
            i_program_address=program,  # read with start only, a cycle after the register's value was asked for
            i_count=instructions,
            o_done=frames.done,
            o_error=error,
        )

        pending, enable = Signal(), Signal()
        id_low, id_high = id_words(self.design_id)
        values: dict[Register, Value | int] = {
            Register.ID_LOW: id_low,
            Register.ID_HIGH: id_high,
            Register.VERSION: VERSION,
            Register.CONTROL: Cat(Const(0, 1), closed),
            Register.STATUS: Cat(frames.busy, frames.ended, frames.refused, Const(0, 5), error),
            Register.FRAMES: frames.frames,
            Register.LATENCY: frames.latency,
            Register.BASE: Cat(Const(0, PAGE), base),
            Register.PROGRAM: program,
            Register.INSTRUCTIONS: instructions,
            Register.INTERRUPT_ENABLE: enable,
            Register.INTERRUPT: pending,
        }
        bus = add_registers(m, self, values)
        control = Register.CONTROL.written(bus) & bus.write_strobe[0]
        m.d.comb += [
            frames.asked.eq(control & bus.write_data[0]),
            frames.able.eq(~closed & ~bus.write_data[1] & (instructions != 0)),
            held.start.eq(stopping & quiet),
            self.interrupt.eq(pending & enable),
        ]
        with m.If(held.start):
            m.d.sync += stopping.eq(0)
        with m.Elif(control & bus.write_data[1]):
            m.d.sync += stopping.eq(1)
        for register, kept in ((Register.BASE, base), (Register.PROGRAM, program), (Register.INSTRUCTIONS, instructions)):
            with m.If(register.written(bus)):
                value = merged(Value.cast(values[register]) | Const(0, 32), bus)
                m.d.sync += kept.eq(value[PAGE:] if register == Register.BASE else value)
        with m.If(Register.INTERRUPT_ENABLE.written(bus) & bus.write_strobe[0]):
            m.d.sync += enable.eq(bus.write_data[0])
        with m.If(reset | (Register.INTERRUPT.written(bus) & bus.write_strobe[0] & bus.write_data[0])):
            m.d.sync += pending.eq(0)
        with m.If(frames.done & ~closed):
            m.d.sync += pending.eq(1)
        return m

    def _engine(self, m: Module, close: Value, **connected: Any) -> Signal:
        """The engine at the memory's bus; whether no burst is under way there. While ``close`` none begins, all is taken."""
        inner = {name: Signal(member.shape, name=f"engine_{name}") for name, member in ports(self.engine).items()}
        directions = {name: "o" if member.flow == Out else "i" for name, member in ports(self.engine).items()}
        m.submodules.engine = Instance(
            NAME,
            i_clk=ClockSignal(),
            o_busy=Signal(name="engine_busy"),  # what the engine tells and nobody asks for
            o_retired=Signal(len(Unit), name="engine_retired"),
            **{f"{directions[name]}_{name}": signal for name, signal in inner.items()},
            **connected,
        )
        m.submodules.reads, m.submodules.writes = reads, writes = Bursts(), Bursts()
        gated = {"m_axi_arvalid": reads, "m_axi_arready": reads, "m_axi_awvalid": writes, "m_axi_awready": writes}
        for name, signal in inner.items():
            outer = getattr(self, name)
            target, source = (outer, signal) if directions[name] == "o" else (signal, outer)
            if name in gated:
                source = source & gated[name].passes
            elif name == "m_axi_rready":
                source = source | close
            m.d.comb += target.eq(source)
        quiet = Signal()
        m.d.comb += [
            reads.close.eq(close),
            writes.close.eq(close),
            reads.offered.eq(inner["m_axi_arvalid"]),
            reads.taken.eq(self.m_axi_arready),
            reads.ended.eq(self.m_axi_rvalid & self.m_axi_rready & self.m_axi_rlast),
            writes.offered.eq(inner["m_axi_awvalid"]),
            writes.taken.eq(self.m_axi_awready),
            writes.ended.eq(self.m_axi_bvalid & self.m_axi_bready),
            quiet.eq(reads.quiet & writes.quiet),
        ]
        return quiet


def design_id(engine: Engine) -> bytes:
    """Eight bytes: the first of the SHA-256 of the engine's Verilog."""
    return hashlib.sha256(verilog(engine).encode()).digest()[:8]


@cache
def soc_verilog(engine: Engine) -> str:
    """The :class:`OverlaySocTop` as Verilog-2005, module ``overlay_soc``, without the engine."""
    return convert(OverlaySocTop(engine, design_id(engine)), SOC_NAME)


def reference() -> str:
    """docs/registers.md."""
    return f"""\
# Registers of accelerators in a system on chip
Each is 32 bits at an AXI4-Lite bus of 4 KiB. Writes heed byte strobes. A read or write of another address, and a write of a
register that is only read, are answered with SLVERR. After `aresetn` all that can be written is 0.

## Dataflow: AXI4-Stream for frames (`NAME_soc`)
{registers.table(soc_top.Register)}
## Overlay: AXI4 for memory (`{SOC_NAME}`)
{registers.table(Register)}
The image (`image.bin`: constants, room for tensors, program) may lie at any multiple of {1 << PAGE} bytes in the lowest 4 GiB
of what the port reaches. A frame: write the input to its place there, 1 to CONTROL; wait until bit 0 of STATUS is 0, or for the
interrupt; read the output from its place. BASE, PROGRAM and INSTRUCTIONS may be written while a frame is under way and count
from the next one on, so two images can take turns. A program for another engine (another ID) may never end: reset.
"""


if __name__ == "__main__":
    print(reference(), end="")
