"""Rings of bytes between the packets of a link and the words of the accelerator."""

from typing import TYPE_CHECKING, Any

from amaranth import Cat, Module, Mux, Signal, Value
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from .crc import SerialCrc32

if TYPE_CHECKING:
    from .link import LinkParams

__all__ = ["InputBuffer", "OutputBuffer", "ring_contents"]


class InputBuffer(wiring.Component):
    """Input bytes of a packet into a ring, and if the packet is whole on to the accelerator in words.

    Members
    -------
    byte, write : a byte behind a packet's header
    fits : everything written since the last packet's end found room
    close, accept : the packet is over; its bytes but the last four, its CRC, are input, or none are
    received, consumed : bytes accepted, and those of them that have left the ring, modulo 2^16
    """

    def __init__(self, params: "LinkParams"):
        self.params = params
        ports = {"byte": In(8), "write": In(1), "fits": Out(1, init=1), "close": In(1), "accept": In(1)}
        counts = {"received": Out(16), "consumed": Out(16)}
        word = {"tdata": Out(8 * params.input_bytes), "tvalid": Out(1), "tready": In(1), "tlast": Out(1)}
        super().__init__({**ports, **counts, **word})

    def elaborate(self, platform: Any) -> Module:
        m, p = Module(), self.params
        m.submodules.ring = ring = memory.Memory(shape=8, depth=p.input_buffer, init=[])
        write, read = ring.write_port(), ring.read_port()
        written = Signal(16)  # accepted or not
        place = exact_log2(p.input_buffer)
        m.d.comb += [write.addr.eq(written), write.data.eq(self.byte), read.addr.eq(self.consumed)]
        full, some = Signal(), Signal()  # as the counts were a cycle ago, which change less often than that
        m.d.sync += [
            full.eq(_once_around(written, self.consumed, place)),
            some.eq(self.received[: place + 1] != self.consumed[: place + 1]),
        ]
        with m.If(self.write):
            with m.If(full):
                m.d.sync += self.fits.eq(0)
            with m.Else():
                m.d.comb += write.en.eq(1)
                m.d.sync += written.eq(written + 1)
        with m.If(self.close):
            end = Mux(self.accept, written - 4, self.received)
            m.d.sync += [self.fits.eq(1), written.eq(end), self.received.eq(end)]

        reading = Signal()
        count = Signal(range(p.input_bytes))
        left = Signal(range(p.input_words), init=p.input_words - 1)  # words of the frame after this one
        m.d.comb += self.tlast.eq(left == 0)
        with m.If(reading):
            m.d.sync += [reading.eq(0), self.tdata.eq(Cat(self.tdata[8:], read.data)), count.eq(count + 1)]
            with m.If(count == p.input_bytes - 1):
                m.d.sync += [count.eq(0), self.tvalid.eq(1)]
        with m.Elif(~self.tvalid & some):
            m.d.sync += [reading.eq(1), self.consumed.eq(self.consumed + 1)]
        with m.If(self.tvalid & self.tready):
            m.d.sync += [self.tvalid.eq(0), left.eq(Mux(self.tlast, p.input_words - 1, left - 1))]
        return m


def ring_contents(params: "LinkParams") -> tuple[int, ...]:
    """What the output's memory holds at first: the ring, and behind it the board's identity."""
    return (*bytes(params.output_buffer), *params.identity.ljust(params.output_buffer, b"\0"))


class OutputBuffer(wiring.Component):
    """Output words of the accelerator into a ring, each frame with its trailer behind it.

    Members
    -------
    acked : bytes that the host has, modulo twice the buffer: their place is free
    committed : bytes that may be sent, modulo the same: whole frames, and full packets of an unfinished one
    address, data : the ring; ``data`` is a cycle later
    identity : whether ``address`` is a byte of the board's identity, which is kept in the same memory
    """

    def __init__(self, params: "LinkParams"):
        self.params = params
        place = exact_log2(params.output_buffer)
        ring = {"acked": In(place + 1), "committed": Out(place + 1), "address": In(place), "identity": In(1), "data": Out(8)}
        word = {"tdata": In(8 * params.output_bytes), "tvalid": In(1), "tready": Out(1), "tlast": In(1)}
        super().__init__({**ring, **word})

    def elaborate(self, platform: Any) -> Module:
        m, p = Module(), self.params
        place = exact_log2(p.output_buffer)
        m.submodules.ring = ring = memory.Memory(shape=8, depth=2 * p.output_buffer, init=ring_contents(p))
        m.submodules.crc = check = SerialCrc32()
        write, read = ring.write_port(), ring.read_port()
        written, part = Signal(place + 1), Signal(place - 2)  # part: bytes since the last commitment
        number, now = Signal(16), Signal(32)
        rest = Signal(8 * p.output_bytes + len(number) + len(now))  # of the word and the trailer
        last, left = Signal(), Signal(range(p.output_bytes + 6))  # bytes before the next word or the CRC, after this one
        byte, offered, frame_end = Signal(8), Signal(), Signal()
        # A byte is chosen, and whether there is room for it, in the cycle before it is taken.
        chosen, room, ready = Signal(8), Signal(), Signal()
        take = offered & room & ready
        m.d.sync += [
            byte.eq(chosen),
            room.eq(~_once_around(written, self.acked, place)),
            ready.eq(offered & ~take & check.idle),
        ]
        m.d.comb += [
            read.addr.eq(Cat(self.address, self.identity)),
            self.data.eq(read.data),
            write.addr.eq(written[:place]),
            write.data.eq(byte),
            write.en.eq(take),
            check.byte.eq(byte),
            check.valid.eq(take & ~frame_end),
        ]
        m.d.sync += now.eq(now + 1)
        with m.If(take):
            m.d.sync += [written.eq(written + 1), left.eq(left - 1), part.eq(part + 1)]
            with m.If(frame_end):
                m.d.sync += part.eq(0)
        commit = Signal()
        m.d.sync += commit.eq(take & (frame_end | part.all()))
        with m.If(commit):
            m.d.sync += self.committed.eq(written)
        with m.FSM():
            with m.State("wait"):
                m.d.comb += self.tready.eq(1)
                m.d.sync += [rest.eq(Cat(self.tdata, number, now)), last.eq(self.tlast)]
                m.d.sync += left.eq(Mux(self.tlast, p.output_bytes + 5, p.output_bytes - 1))
                with m.If(self.tvalid):
                    m.next = "bytes"
            with m.State("bytes"):
                m.d.comb += [chosen.eq(rest[:8]), offered.eq(1)]
                with m.If(take):
                    m.d.sync += rest.eq(rest[8:])
                with m.If(take & (left == 0)):
                    m.d.sync += left.eq(3)
                    m.next = "wait"
                    with m.If(last):
                        m.next = "check"
            with m.State("check"):
                m.d.comb += [chosen.eq(check.low), check.shift.eq(1), offered.eq(1), frame_end.eq(left == 0)]
                with m.If(take & frame_end):
                    m.d.comb += check.start.eq(1)
                    m.d.sync += number.eq(number + 1)
                    m.next = "wait"
        return m


def _once_around(ahead: Signal, behind: Signal, bits: int) -> Value:
    """Whether ``ahead`` is 2^bits in front of ``behind``, where it is never more: the ring is full."""
    return (ahead[:bits] == behind[:bits]) & (ahead[bits] != behind[bits])
