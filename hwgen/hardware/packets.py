"""Packets on a serial line: the hardware's half of docs/protocol.md.

A packet is header, payload and CRC-32 between two flags, with flags and escapes inside replaced as in HDLC (RFC 1662).
The host's header: kind (1 byte), session (2), taken (2), offset (2). The board's: kind (1), session (2), offset (2),
received (2), consumed (2). All numbers lowest byte first.
"""

from enum import IntEnum
from typing import Any

from amaranth import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .crc import SerialCrc32

__all__ = [
    "BOARD_HEADER", "ESCAPE", "FLAG", "FROM_BOARD", "HOST_HEADER", "REJECTED", "SWAP", "VERSION", "Kind",
    "PacketReceiver", "PacketSender",
]  # fmt: skip

VERSION = 1  #: of the protocol
FLAG, ESCAPE, SWAP = 0x7E, 0x7D, 0x20
FROM_BOARD = 0x40  #: bit of the kind in all that a board sends
REJECTED = 0x80  #: bit of the kind: since its last packet the board got one that it could not take


#: What a host's packet begins with. ``taken``: output bytes that the host has; ``offset``: of the payload's first byte in all
#: the session's input (in a poll any number, for the answer). Both modulo 2^16.
HOST_HEADER = data.StructLayout({"kind": 8, "session": 16, "taken": 16, "offset": 16})

#: What a board's packet begins with. ``offset``: of the payload's first byte in all the session's output, or the number of the
#: poll that this answers; ``received``: input bytes in the buffer or beyond; ``consumed``: those beyond. All modulo 2^16.
BOARD_HEADER = data.StructLayout({"kind": 8, "session": 16, "offset": 16, "received": 16, "consumed": 16})


class Kind(IntEnum):
    """Of a packet."""

    RESET = 1  #: host: begin the session of that number. Board: its identity
    POLL = 2  #: host: how far are you? Send your output again from ``taken`` on. Board: that far
    DATA = 3  #: host: input bytes. Board: output bytes


class PacketReceiver(wiring.Component):
    """Takes a host's packets apart.

    Payload and CRC are passed on byte by byte before it is known whether the packet is whole.

    Members
    -------
    byte, valid : input, at most one in ten cycles; ``byte`` stays for the cycle after ``valid`` too
    payload, payload_valid : a byte behind the header, the four of the CRC included
    header : the packet's, from its end to the next packet
    done : 1 for the cycle after the flag that ends a packet
    whole : with ``done``: the CRC fits and nothing is missing
    """

    def __init__(self) -> None:
        super().__init__(
            {
                "byte": In(8),
                "valid": In(1),
                "payload": Out(8),
                "payload_valid": Out(1),
                "header": Out(HOST_HEADER),
                "done": Out(1),
                "whole": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.crc = check = SerialCrc32()
        header = self.header.as_value()
        head = len(header) // 8
        size = Signal(range(head + 5))  # of the packet so far; header and CRC at most
        escaped = Signal()
        began = Signal(init=1)
        # What a byte means is known a cycle after it has come.
        here, is_flag, is_escape = Signal(), Signal(), Signal()
        m.d.sync += [here.eq(self.valid), is_flag.eq(self.byte == FLAG), is_escape.eq(self.byte == ESCAPE)]
        flag = here & is_flag
        m.d.comb += [
            self.payload.eq(self.byte ^ Mux(escaped, SWAP, 0)),
            self.payload_valid.eq(check.valid & (size >= head)),
            check.byte.eq(self.payload),
            check.start.eq(began),
        ]
        m.d.sync += [
            self.done.eq(flag & (size != 0)),
            self.whole.eq(check.match & (size == head + 4)),
            began.eq(flag),
        ]
        with m.If(flag):
            m.d.sync += [size.eq(0), escaped.eq(0)]
        with m.Elif(here & is_escape):
            m.d.sync += escaped.eq(1)
        with m.Elif(here):
            m.d.comb += check.valid.eq(1)
            m.d.sync += escaped.eq(0)
            with m.If(size < head):
                m.d.sync += header.eq(Cat(header[8:], self.payload))
            with m.If(size < head + 4):
                m.d.sync += size.eq(size + 1)
        return m


class PacketSender(wiring.Component):
    """Puts a board's packets together.

    Members
    -------
    header, length : of the packet to send; payload of ``length`` bytes
    start : input, begin if ``ready``; takes header and length
    ready : 1 where no packet is being sent
    payload : input, the byte of the payload that is due; the next one at the latest eight cycles after ``advance``
    advance : 1 for the cycle in which ``payload`` is taken
    o : stream of bytes
    """

    def __init__(self, longest: int):
        self.longest = longest
        super().__init__(
            {
                "header": In(BOARD_HEADER),
                "length": In(range(longest + 1)),
                "start": In(1),
                "ready": Out(1),
                "payload": In(8),
                "advance": Out(1),
                "o": Out(stream.Signature(8)),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.crc = check = SerialCrc32()
        head = len(self.header.as_value()) // 8
        rest = Signal(8 * head)  # of the header
        left = Signal(range(max(self.longest, head) + 1))  # bytes of this part
        length = Signal(range(self.longest + 1))
        plain, flag, loaded = Signal(8), Signal(), Signal()
        byte, special, escaped, taken = Signal(8), Signal(), Signal(), Signal()
        m.d.comb += [
            self.o.valid.eq(loaded),
            self.o.payload.eq(Mux(escaped, byte ^ SWAP, Mux(special, ESCAPE, byte))),
            taken.eq(loaded & self.o.ready & (escaped | ~special)),
            check.byte.eq(byte),
        ]
        with m.If(loaded & self.o.ready):
            m.d.sync += [escaped.eq(~taken), loaded.eq(~taken)]
        with m.If(taken):
            m.d.sync += left.eq(left - 1)
        with m.If(~loaded & ~self.ready & check.idle):  # the CRC has the byte before; the payload's memory has followed
            m.d.sync += [loaded.eq(1), byte.eq(plain)]
            m.d.sync += special.eq(~flag & ((plain == FLAG) | (plain == ESCAPE)))
        with m.FSM():
            with m.State("idle"):
                m.d.comb += [self.ready.eq(1), check.start.eq(1)]
                m.d.sync += [rest.eq(self.header), length.eq(self.length), left.eq(head)]
                with m.If(self.start):
                    m.next = "begin"
            with m.State("begin"):
                m.d.comb += [plain.eq(FLAG), flag.eq(1)]
                with m.If(taken):
                    m.d.sync += left.eq(head)
                    m.next = "header"
            with m.State("header"):
                m.d.comb += [plain.eq(rest[:8]), check.valid.eq(taken)]
                with m.If(taken):
                    m.d.sync += rest.eq(rest[8:])
                with m.If(taken & (left == 1)):
                    m.d.sync += left.eq(Mux(length == 0, 4, length))
                    with m.If(length == 0):
                        m.next = "check"
                    with m.Else():
                        m.next = "payload"
            with m.State("payload"):
                m.d.comb += [plain.eq(self.payload), check.valid.eq(taken), self.advance.eq(taken)]
                with m.If(taken & (left == 1)):
                    m.d.sync += left.eq(4)
                    m.next = "check"
            with m.State("check"):
                m.d.comb += [plain.eq(check.low), check.valid.eq(taken), check.shift.eq(1)]
                with m.If(taken & (left == 1)):
                    m.next = "end"
            with m.State("end"):
                m.d.comb += [plain.eq(FLAG), flag.eq(1)]
                with m.If(taken):
                    m.next = "idle"
        return m
