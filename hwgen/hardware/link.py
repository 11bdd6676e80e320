"""The accelerator at the end of a serial line: see docs/protocol.md."""

import hashlib
import struct
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from amaranth import Cat, ClockSignal, Instance, Module, Mux, ResetInserter, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from ..arith import IntType
from ..errors import HwgenError
from ..output import read_manifest
from ..streams import Stream
from .link_buffers import InputBuffer, OutputBuffer
from .packets import FROM_BOARD, REJECTED, VERSION, Kind, PacketReceiver, PacketSender
from .top import axis
from .uart import UartReceiver, UartTransmitter, sixteenths

__all__ = ["BAUD", "IDENTITY", "TRAILER", "Link", "LinkParams", "Linked", "interface", "link_params"]

#: The board's identity: protocol, design, bytes of an input word, input words of a frame, the same of the output, size of the
#: input buffer and of the output buffer in bytes.
IDENTITY = struct.Struct("<B8sHIHIHH")
#: Behind a frame's output: number of the frame in the session modulo 2^16, cycle in which its last word left the
#: accelerator, counted from the session's begin, modulo 2^32, CRC-32 of all the frame's output bytes and those two numbers.
TRAILER = struct.Struct("<HII")
BAUD = 3_000_000  #: of boards: what their USB adapters reach
RESET_CYCLES = 16


@dataclass(frozen=True, kw_only=True)
class LinkParams:
    """Parameters of a :class:`Link`.

    Parameters
    ----------
    design_id
        Eight bytes: the first of the SHA-256 of the accelerator's Verilog.
    input_bytes, input_words
        Bytes of an input word, words of a frame.
    output_bytes, output_words
        The same of the output.
    cycles_per_bit
        Clock frequency ÷ baud rate, at least 4; kept to 1/16 of a cycle.
    input_buffer, output_buffer
        Bytes, powers of two. The larger they are, the less it matters how long an answer takes.
    """

    design_id: bytes
    input_bytes: int
    input_words: int
    output_bytes: int
    output_words: int
    cycles_per_bit: Fraction | float
    input_buffer: int = 2048
    output_buffer: int = 1024

    def __post_init__(self) -> None:
        if len(self.design_id) != 8:
            raise ValueError(f"design_id must have 8 bytes, not {len(self.design_id)}")
        for name, limit in (("input_bytes", 16), ("output_bytes", 16), ("input_words", 32), ("output_words", 32)):
            if not 0 < getattr(self, name) < 1 << limit:
                raise ValueError(f"{name} must be in 1..{(1 << limit) - 1}, not {getattr(self, name)!r}")
        for name in ("input_buffer", "output_buffer"):
            size = getattr(self, name)
            if not 64 <= size <= 1 << 14 or size & (size - 1):
                raise ValueError(f"{name} must be a power of two in 64..16384, not {size!r}")
        sixteenths(self.cycles_per_bit)

    @property
    def identity(self) -> bytes:
        """What the board says of itself: :data:`IDENTITY`."""
        return IDENTITY.pack(
            VERSION, self.design_id, self.input_bytes, self.input_words, self.output_bytes, self.output_words,
            self.input_buffer, self.output_buffer,
        )  # fmt: skip


def link_params(folder: Path, cycles_per_bit: Fraction | float, **buffers: int) -> LinkParams:
    """The link of the accelerator in ``folder``, which ``hwgen build`` wrote; ``buffers`` as in :class:`LinkParams`."""
    about = interface(folder)
    del about["name"]
    return LinkParams(cycles_per_bit=cycles_per_bit, **(about | buffers))


def interface(folder: Path) -> dict[str, Any]:
    """Of the accelerator in ``folder``: its ``name``, and what :class:`LinkParams` says of it.

    ``HwgenError`` where it has no streams of frames: an overlay with external memory.
    """
    manifest = read_manifest(folder)
    if "image" in manifest:
        raise HwgenError(
            f"{folder} has an overlay with external memory, which only a system on chip connects with it: "
            "build it with --on-chip, or for a board with a project for Vivado (hwgen boards)"
        )
    path = folder / f"{manifest['name']}.v"
    try:
        text = path.read_bytes()
    except OSError as error:
        raise HwgenError(f"cannot read {path}: {error.strerror}") from error
    about: dict[str, Any] = {"name": manifest["name"], "design_id": hashlib.sha256(text).digest()[:8]}
    for side in ("input", "output"):
        entry = manifest[side]["stream"]
        element = IntType(entry["bits"], entry["signed"])
        stream = axis(Stream(element=element, lanes=entry["lanes"], words=entry["words"]))
        about |= {f"{side}_bytes": stream.bits // 8, f"{side}_words": stream.words}
    return about


class Link(wiring.Component):
    """Between a serial line and the accelerator; never sends but to answer or to bring output.

    Members
    -------
    rx, tx : the line
    accelerator_reset : 1 for 16 cycles when a session begins
    s_axis_tdata, s_axis_tvalid, s_axis_tready, s_axis_tlast : to the accelerator's port of that name
    m_axis_tdata, m_axis_tvalid, m_axis_tready, m_axis_tlast : from the accelerator's port of that name
    """

    def __init__(self, params: LinkParams):
        self.params = params
        super().__init__(
            {
                "rx": In(1, init=1),
                "tx": Out(1, init=1),
                "accelerator_reset": Out(1),
                "s_axis_tdata": Out(8 * params.input_bytes),
                "s_axis_tvalid": Out(1),
                "s_axis_tready": In(1),
                "s_axis_tlast": Out(1),
                "m_axis_tdata": In(8 * params.output_bytes),
                "m_axis_tvalid": In(1),
                "m_axis_tready": Out(1),
                "m_axis_tlast": In(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m, p = Module(), self.params
        place = exact_log2(p.output_buffer)
        longest = p.output_buffer // 4
        in_reset = ResetInserter(self.accelerator_reset)
        m.submodules.uart_receiver = uart_receiver = UartReceiver(p.cycles_per_bit)
        m.submodules.uart_transmitter = uart_transmitter = UartTransmitter(p.cycles_per_bit)
        m.submodules.receiver = receiver = PacketReceiver()
        m.submodules.sender = sender = PacketSender(max(longest, len(p.identity)))
        inputs, outputs = InputBuffer(p), OutputBuffer(p)
        m.submodules.inputs, m.submodules.outputs = in_reset(inputs), in_reset(outputs)
        wiring.connect(m, sender.o, uart_transmitter.i)
        for role in ("tdata", "tvalid", "tready", "tlast"):
            for inner, outer in ((inputs, f"s_axis_{role}"), (outputs, f"m_axis_{role}")):
                a, b = getattr(inner, role), getattr(self, outer)
                m.d.comb += a.eq(b) if inner.signature.members[role].flow is In else b.eq(a)

        session, poll = Signal(16), Signal(16)
        sent, acked, pointer = Signal(16), Signal(place + 1), Signal(place)  # in the output; pointer: of the byte being sent
        reported = Signal(exact_log2(p.input_buffer) + 1)  # consumed, as the host was last told
        identify, polled, answer, rejected = Signal(), Signal(), Signal(), Signal()  # what the host is to be told
        identifying, payload = Signal(), Signal(8)
        hold = Signal(range(RESET_CYCLES + 1), init=RESET_CYCLES)
        m.d.comb += [
            self.accelerator_reset.eq(hold != 0),
            uart_receiver.rx.eq(self.rx),
            self.tx.eq(uart_transmitter.tx),
            receiver.byte.eq(uart_receiver.byte),
            receiver.valid.eq(uart_receiver.valid),
            inputs.byte.eq(receiver.payload),
            inputs.write.eq(receiver.payload_valid),
            outputs.acked.eq(acked),
            outputs.address.eq(pointer),
            outputs.identity.eq(identifying),
        ]
        with m.If(hold != 0):
            m.d.sync += hold.eq(hold - 1)

        # What to send next, the urgent first: identity, answer to a poll, output, how far the input is.
        # What is compared is two cycles old, which matters only where a packet changes it (recent), a cycle after its end.
        pending, some, stale, recent = Signal(place + 1), Signal(), Signal(), Signal(3)
        unreported = (inputs.consumed - reported)[: len(reported)]
        length = Signal.like(sender.length)
        m.d.sync += [
            pending.eq(outputs.committed - sent),
            length.eq(Mux(pending[place - 2 :].any(), longest, pending[: place - 2])),
            some.eq(pending != 0),
            stale.eq(unreported[-3:].any()),  # a quarter of the buffer
            recent.eq(Cat(receiver.done, recent)),
        ]
        go = sender.ready & (hold == 0) & (recent == 0) & (identify | polled | answer | stale | some)
        kind = Mux(identify, Kind.RESET, Mux(polled, Kind.POLL, Kind.DATA))
        m.d.comb += [
            sender.start.eq(go),
            sender.length.eq(Mux(identify, len(p.identity), Mux(polled, 0, length))),
            sender.header.kind.eq(FROM_BOARD | Mux(rejected, REJECTED, 0) | kind),
            sender.header.session.eq(session),
            sender.header.offset.eq(Mux(polled, poll, sent)),
            sender.header.received.eq(inputs.received),
            sender.header.consumed.eq(inputs.consumed),
            sender.payload.eq(payload),
        ]
        m.d.sync += payload.eq(outputs.data)
        with m.If(sender.advance):
            m.d.sync += pointer.eq(pointer + 1)
        with m.If(go):
            m.d.sync += [identifying.eq(identify), pointer.eq(Mux(identify, 0, sent)), identify.eq(0)]
            m.d.sync += [answer.eq(0), rejected.eq(0), reported.eq(inputs.consumed)]
            with m.If(~identify):
                m.d.sync += polled.eq(0)
                with m.If(~polled):
                    m.d.sync += sent.eq(sent + length)

        # What has come, known a cycle after the packet's end; later assignments win over those above.
        header = receiver.header
        same, next_in_line = Signal(), Signal()  # settled by the time the packet ends
        m.d.sync += [same.eq(header.session == session), next_in_line.eq(header.offset == inputs.received)]
        ours = receiver.whole & same
        accept = ours & (header.kind == Kind.DATA) & inputs.fits & next_in_line
        m.d.sync += [inputs.close.eq(receiver.done), inputs.accept.eq(accept)]
        begins, polls, brings = Signal(), Signal(), Signal()
        m.d.sync += [
            begins.eq(receiver.whole & (header.kind == Kind.RESET)),
            polls.eq(ours & (header.kind == Kind.POLL)),
            brings.eq(ours & (header.kind == Kind.DATA)),
        ]
        with m.If(recent[0]):
            with m.If(begins):
                m.d.sync += [session.eq(header.session), hold.eq(RESET_CYCLES), acked.eq(0), sent.eq(0), reported.eq(0)]
                m.d.sync += [identify.eq(1), polled.eq(0), answer.eq(0), rejected.eq(0)]
            with m.Elif(polls):
                m.d.sync += [acked.eq(header.taken), sent.eq(header.taken), poll.eq(header.offset), polled.eq(1)]
            with m.Elif(brings):
                m.d.sync += [acked.eq(header.taken), answer.eq(1)]
                with m.If(~inputs.accept):
                    m.d.sync += rejected.eq(1)
            with m.Else():
                m.d.sync += [answer.eq(1), rejected.eq(1)]
        return m


class Linked(wiring.Component):
    """The accelerator, module ``name`` of its own Verilog file, with its link: a top for boards and for simulation.

    Members
    -------
    rx, tx : the line
    """

    def __init__(self, name: str, params: LinkParams):
        self.name, self.params = name, params
        super().__init__({"rx": In(1, init=1), "tx": Out(1, init=1)})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.link = link = Link(self.params)
        near = Signal(init=1)
        middle, reset = (Signal(init=1, reset_less=True, name=name) for name in ("middle", "reset"))  # its way is long
        m.d.sync += [near.eq(link.accelerator_reset), middle.eq(near), reset.eq(middle)]
        m.d.comb += [link.rx.eq(self.rx), self.tx.eq(link.tx)]
        ports = {}
        for port, member in link.signature.members.items():
            if "_axis_" in port:
                ports[("i_" if member.flow is Out else "o_") + port] = getattr(link, port)
        m.submodules.accelerator = Instance(self.name, i_clk=ClockSignal(), i_rst=reset, **ports)
        return m
