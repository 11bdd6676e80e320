"""The accelerator for a system on chip: AXI4-Stream for data, AXI4-Lite for control."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from amaranth import ClockDomain, ClockSignal, Instance, Module, Mux, ResetInserter, ResetSignal, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from . import registers
from .axi_lite import axi_lite_members
from .link import interface
from .registers import HeldReset, RegisterMap, add_registers, id_words
from .verilog import convert

__all__ = ["VERSION", "Counters", "Register", "SocParams", "SocTop", "soc_verilog"]

VERSION = 1  #: of the registers


class Register(RegisterMap):
    """Byte addresses of the registers."""

    ID_LOW = registers.ID_LOW
    ID_HIGH = registers.ID_HIGH
    VERSION = registers.VERSION
    CONTROL = 0x0C, "bit 0: enable; bit 1: reset, says 1 while the reset goes on", True
    STATUS = 0x10, "bit 0: busy, a frame has begun to come in and not left"
    FRAMES_IN = 0x14, "frames whose last word has come, modulo 2^32"
    FRAMES_OUT = 0x18, "frames whose last word has left, modulo 2^32"
    LATENCY = 0x1C, "cycles from a frame's first word in to its last word out, of the latest frame that was measured"
    INTERVAL = 0x20, "cycles from the last word out of the last frame but one to that of the last one; 0 before"
    CYCLES_LOW = 0x24, "cycles since reset; a read holds the upper half"
    CYCLES_HIGH = 0x28, "the upper half, as it was when the lower one was read"
    INPUT_BYTES = 0x2C, "of an input word"
    INPUT_WORDS = 0x30, "of a frame"
    OUTPUT_BYTES = 0x34, "of an output word"
    OUTPUT_WORDS = 0x38, "of a frame"


@dataclass(frozen=True, kw_only=True)
class SocParams:
    """Parameters of a :class:`SocTop`.

    Parameters
    ----------
    name
        Module name of the accelerator.
    design_id
        Eight bytes: the first of the SHA-256 of the accelerator's Verilog.
    input_bytes, input_words
        Bytes of an input word, words of a frame.
    output_bytes, output_words
        The same of the output.
    """

    name: str
    design_id: bytes
    input_bytes: int
    input_words: int
    output_bytes: int
    output_words: int

    def __post_init__(self) -> None:
        id_words(self.design_id)
        for name in ("input_bytes", "input_words", "output_bytes", "output_words"):
            if not 0 < getattr(self, name) < 1 << 32:
                raise ValueError(f"{name} must be in 1..{(1 << 32) - 1}, not {getattr(self, name)!r}")


class Counters(wiring.Component):
    """What goes through the accelerator, counted.

    Members
    -------
    enters, leaves : 1 in a cycle in which a word is transferred in, out
    place : words of the frame coming in that are there already
    frames_in, frames_out : whole frames, modulo 2^32
    busy : a frame has begun to come in, and not left
    latency, interval : cycles, as in :class:`Register`
    cycles : since reset
    """

    def __init__(self, params: SocParams):
        self.params = params
        counts = dict.fromkeys(("frames_in", "frames_out", "latency", "interval"), Out(32))
        place = Out(range(params.input_words))
        super().__init__({"enters": In(1), "leaves": In(1), "place": place, "busy": Out(1), "cycles": Out(64), **counts})

    def elaborate(self, platform: Any) -> Module:
        m, p = Module(), self.params
        left = Signal(range(p.output_words))  # words of the frame going out that have left
        begins = self.enters & (self.place == 0)
        comes = self.enters & (self.place == p.input_words - 1)
        ends = self.leaves & (left == p.output_words - 1)
        now = self.cycles[:32]
        # One frame at a time is measured: the next that begins when the last measured one has left.
        measuring = Signal()
        started = Signal(32)
        measured = Signal(32)  # number of that frame
        before = Signal()  # whether a frame has left
        last = Signal(32)  # when the last one did
        m.d.sync += self.cycles.eq(self.cycles + 1)
        m.d.comb += self.busy.eq((self.frames_in != self.frames_out) | (self.place != 0))
        with m.If(self.enters):
            m.d.sync += self.place.eq(Mux(comes, 0, self.place + 1))
            m.d.sync += self.frames_in.eq(self.frames_in + comes)
        with m.If(begins & ~measuring):
            m.d.sync += [measuring.eq(1), started.eq(now), measured.eq(self.frames_in)]
        with m.If(self.leaves):
            m.d.sync += left.eq(Mux(ends, 0, left + 1))
        with m.If(ends):
            m.d.sync += [self.frames_out.eq(self.frames_out + 1), last.eq(now), before.eq(1)]
            with m.If(before):
                m.d.sync += self.interval.eq(now - last)
            with m.If(measuring & (measured == self.frames_out)):
                m.d.sync += [self.latency.eq(now - started), measuring.eq(0)]
        return m


class SocTop(wiring.Component):
    """The accelerator, module ``params.name`` of its own Verilog file, with registers at an AXI4-Lite bus.

    The streams are the accelerator's, without a cycle more: while ``enable`` is 0 no frame begins to come in; one
    that has begun goes on. A reset, by ``aresetn`` or by register, forgets all that is under way (a word offered
    at ``m_axis`` too, so whatever takes it has to begin anew as well) and all counts; by ``aresetn`` also ``enable``.

    Members
    -------
    aclk : rising edge
    aresetn : active low, synchronous
    s_axi_* : AXI4-Lite; :class:`Register` has the registers
    s_axis_tdata, s_axis_tvalid, s_axis_tready, s_axis_tlast : input frames; ``tlast`` is not looked at
    m_axis_tdata, m_axis_tvalid, m_axis_tready, m_axis_tlast : output frames
    """

    def __init__(self, params: SocParams):
        self.params = params
        super().__init__(
            {
                "aclk": In(1),
                "aresetn": In(1),
                **axi_lite_members(),
                "s_axis_tdata": In(8 * params.input_bytes),
                "s_axis_tvalid": In(1),
                "s_axis_tready": Out(1),
                "s_axis_tlast": In(1),
                "m_axis_tdata": Out(8 * params.output_bytes),
                "m_axis_tvalid": Out(1),
                "m_axis_tready": In(1),
                "m_axis_tlast": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m, p = Module(), self.params
        m.domains.sync = ClockDomain()
        m.d.comb += [ClockSignal().eq(self.aclk), ResetSignal().eq(~self.aresetn)]
        enable = Signal()
        m.submodules.held = held = HeldReset()
        reset = held.reset
        m.submodules.counters = counters = ResetInserter(reset)(Counters(p))
        accept = Signal()
        tready = Signal()
        tvalid = Signal()
        offered = Signal()  # a frame's first word, and not taken: it must not be withdrawn
        m.d.comb += [
            accept.eq(~reset & (enable | offered | (counters.place != 0))),
            self.s_axis_tready.eq(tready & accept),
            self.m_axis_tvalid.eq(tvalid & ~reset),
            counters.enters.eq(self.s_axis_tvalid & self.s_axis_tready),
            counters.leaves.eq(self.m_axis_tvalid & self.m_axis_tready),
        ]
        m.d.sync += offered.eq(self.s_axis_tvalid & accept & ~tready)
        m.submodules.accelerator = Instance(
            p.name,
            i_clk=ClockSignal(),
            i_rst=reset,
            i_s_axis_tdata=self.s_axis_tdata,
            i_s_axis_tvalid=self.s_axis_tvalid & accept,
            o_s_axis_tready=tready,
            i_s_axis_tlast=self.s_axis_tlast,
            o_m_axis_tdata=self.m_axis_tdata,
            o_m_axis_tvalid=tvalid,
            i_m_axis_tready=self.m_axis_tready & ~reset,
            o_m_axis_tlast=self.m_axis_tlast,
        )

        high = Signal(32)
        id_low, id_high = id_words(p.design_id)
        values: dict[Register, Value | int] = {
            Register.ID_LOW: id_low,
            Register.ID_HIGH: id_high,
            Register.VERSION: VERSION,
            Register.CONTROL: enable | reset << 1,
            Register.STATUS: counters.busy,
            Register.FRAMES_IN: counters.frames_in,
            Register.FRAMES_OUT: counters.frames_out,
            Register.LATENCY: counters.latency,
            Register.INTERVAL: counters.interval,
            Register.CYCLES_LOW: counters.cycles[:32],
            Register.CYCLES_HIGH: high,
            Register.INPUT_BYTES: p.input_bytes,
            Register.INPUT_WORDS: p.input_words,
            Register.OUTPUT_BYTES: p.output_bytes,
            Register.OUTPUT_WORDS: p.output_words,
        }
        bus = add_registers(m, self, values)
        with m.If(bus.read & (bus.read_address == Register.CYCLES_LOW >> 2)):
            m.d.sync += high.eq(counters.cycles[32:])
        control = Register.CONTROL.written(bus) & bus.write_strobe[0]
        m.d.comb += held.start.eq(control & bus.write_data[1])
        with m.If(control):
            m.d.sync += enable.eq(bus.write_data[0])
        return m


def soc_verilog(folder: Path) -> tuple[str, str]:
    """Name (``NAME_soc``) and Verilog of the :class:`SocTop` around the accelerator in ``folder``, which has its own file.

    Raises
    ------
    HwgenError
        If ``hwgen build`` did not write the folder.
    """
    params = SocParams(**interface(folder))
    top = f"{params.name}_soc"
    return top, convert(SocTop(params), top)
