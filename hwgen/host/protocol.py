"""The host's half of docs/protocol.md: packets, and the transfer of a stream of frames. Nothing here reads or writes a line."""

import struct
import zlib
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, fields

from ..errors import HwgenError
from ..hardware.link import IDENTITY, TRAILER
from ..hardware.packets import ESCAPE, FLAG, FROM_BOARD, REJECTED, SWAP, VERSION, Kind

__all__ = ["BoardPacket", "Decoder", "Identity", "Transfer", "TransferError", "encode"]

_HOST = struct.Struct("<BHHH")
_BOARD = struct.Struct("<BHHHH")
_CRC = struct.Struct("<I")
_STUFFING = {byte: bytes((ESCAPE, byte ^ SWAP)) for byte in (ESCAPE, FLAG)}
_FIRST_TIMEOUT, _LEAST_TIMEOUT, _LONGEST_TIMEOUT = 0.2, 0.05, 2.0  # seconds until the host asks what has become of its packets


def encode(kind: Kind, session: int, taken: int, offset: int, payload: bytes = b"") -> bytes:
    """A host's packet on the wire; ``taken`` and ``offset`` modulo 2^16."""
    body = _HOST.pack(kind, session, taken & 0xFFFF, offset & 0xFFFF) + payload
    body += _CRC.pack(zlib.crc32(body))
    stuffed = body.replace(bytes((ESCAPE,)), _STUFFING[ESCAPE]).replace(bytes((FLAG,)), _STUFFING[FLAG])
    return bytes((FLAG,)) + stuffed + bytes((FLAG,))


@dataclass(frozen=True, kw_only=True)
class BoardPacket:
    """A board's packet; see :data:`hwgen.hardware.packets.BOARD_HEADER`."""

    kind: Kind
    rejected: bool
    session: int
    offset: int
    received: int
    consumed: int
    payload: bytes


class Decoder:
    """Finds the board's packets in what a serial line brings."""

    def __init__(self) -> None:
        self.part = bytearray()
        self.damaged = 0  #: pieces between flags that were no packet

    def feed(self, received: bytes) -> Iterator[BoardPacket]:
        """The whole packets that end in ``received``."""
        *ends, rest = received.split(bytes((FLAG,)))
        for end in ends:
            raw, self.part = bytes(self.part + end), bytearray()
            if raw:
                packet = _read(raw)
                if packet is None:
                    self.damaged += 1
                else:
                    yield packet
        self.part += rest
        if len(self.part) > 1 << 16:  # longer than any packet
            self.part.clear()


def _read(raw: bytes) -> BoardPacket | None:
    first, *parts = raw.split(bytes((ESCAPE,)))
    if not all(parts):
        return None
    body = first + b"".join(bytes((part[0] ^ SWAP,)) + part[1:] for part in parts)
    if len(body) < _BOARD.size + _CRC.size or zlib.crc32(body[: -_CRC.size]) != _CRC.unpack(body[-_CRC.size :])[0]:
        return None
    kind, session, offset, received, consumed = _BOARD.unpack_from(body)
    number = kind & ~(FROM_BOARD | REJECTED)
    if not kind & FROM_BOARD or number not in tuple(Kind):
        return None
    return BoardPacket(
        kind=Kind(number),
        rejected=bool(kind & REJECTED),
        session=session,
        offset=offset,
        received=received,
        consumed=consumed,
        payload=body[_BOARD.size : -_CRC.size],
    )


@dataclass(frozen=True, kw_only=True)
class Identity:
    """What a board says of itself; see :data:`hwgen.hardware.link.IDENTITY`."""

    version: int
    design_id: bytes
    input_bytes: int
    input_words: int
    output_bytes: int
    output_words: int
    input_buffer: int
    output_buffer: int

    @staticmethod
    def read(payload: bytes) -> "Identity":
        """``HwgenError`` where the board speaks another version of the protocol."""
        if not payload or payload[0] != VERSION or len(payload) != IDENTITY.size:
            spoken = payload[0] if payload else "none"
            raise HwgenError(f"the board speaks protocol version {spoken}, not {VERSION}: build its bitstream again")
        return Identity(**dict(zip((f.name for f in fields(Identity)), IDENTITY.unpack(payload), strict=True)))


class TransferError(Exception):
    """The board is in another session or sent what cannot be: begin a new session."""


class Transfer:
    """One session: input frames to the board, output frames from it, whatever the line does to them.

    Offsets are kept as whole numbers; on the wire they are modulo 2^16. The caller passes what the line brings to
    :meth:`receive`, and puts on the line what :meth:`send` gives; ``now`` is the time in seconds.
    """

    def __init__(self, identity: Identity, session: int, now: float):
        self.identity, self.session = identity, session
        self.frame_bytes = identity.output_bytes * identity.output_words
        self.waiting = bytearray()  # input from ``received`` on
        self.received = self.consumed = self.sent = self.end = 0  # of the input: known to have arrived, left the buffer, sent
        self.furthest = 0  # sent at any time
        self.taken = self.told = 0  # of the output: here, and what the board was told of that
        self.output = bytearray()  # of frames that are not whole
        self.frames: deque[tuple[bytes, int]] = deque()  #: output bytes of whole frames, and the cycle of their last word
        self.added = self.answered = 0  #: frames
        self.polls: dict[int, float] = {}  # when those not answered were sent; while there are any, no input is
        self.number = 0  # of the last poll
        self.timeout, self.deadline = _FIRST_TIMEOUT, now + _FIRST_TIMEOUT
        self.resent = 0

    def add(self, frame: bytes) -> None:
        """One more frame to send."""
        self.added += 1
        self.queue(frame)

    def queue(self, content: bytes) -> None:
        """More to send."""
        self.waiting += content
        self.end += len(content)

    @property
    def unsent(self) -> int:
        """Bytes that have never been sent."""
        return self.end - self.furthest

    def send(self, now: float, *, expecting: bool) -> bytes:
        """What to put on the line now.

        Parameters
        ----------
        expecting
            Output is missing, so that silence means a loss.
        """
        packets = []
        if not self.polls:
            room = self.identity.input_buffer - _CRC.size - (self.sent - self.consumed)
            longest = self.identity.input_buffer // 4
            while self.sent < self.end and room >= min(longest, self.end - self.sent):
                start = self.sent - self.received
                payload = bytes(self.waiting[start : start + longest])
                packets.append(self._packet(Kind.DATA, self.sent, payload))
                self.sent += len(payload)
                room -= len(payload)
            self.furthest = max(self.furthest, self.sent)
            if self.taken - self.told >= self.identity.output_buffer // 4:
                packets.append(self._packet(Kind.DATA, self.sent))
        if packets:
            self.deadline = max(self.deadline, now + self.timeout)
        elif expecting and now >= self.deadline:
            packets.append(self._poll(now))
        return b"".join(packets)

    def _packet(self, kind: Kind, offset: int, payload: bytes = b"") -> bytes:
        self.told = self.taken
        return encode(kind, self.session, self.taken, offset, payload)

    def _poll(self, now: float) -> bytes:
        if self.polls:
            self.timeout = min(2 * self.timeout, _LONGEST_TIMEOUT)
        self.number = (self.number + 1) & 0xFFFF
        self.polls[self.number] = now
        self.deadline = now + self.timeout
        return self._packet(Kind.POLL, self.number)

    def receive(self, packet: BoardPacket, now: float) -> bool:
        """Take in what the board said; whether it is any further than it was.

        Raises
        ------
        TransferError
            If this session cannot go on.
        """
        if packet.session != self.session:
            raise TransferError("the board is in another session")
        received = self.received + ((packet.received - self.received) & 0xFFFF)
        consumed = self.consumed + ((packet.consumed - self.consumed) & 0xFFFF)
        if received > self.furthest or consumed > received:
            raise TransferError("the board has more input than it was sent")
        before = (self.received, self.consumed, self.taken)
        del self.waiting[: received - self.received]
        self.received, self.consumed = received, consumed
        self.sent = max(self.sent, received)
        if packet.kind == Kind.POLL and packet.offset in self.polls:
            # Whatever was sent before the poll has arrived by now, or never will.
            self.timeout = max(_LEAST_TIMEOUT, 2 * (now - self.polls[packet.offset]))
            self.polls.clear()
            self.resent += self.sent - self.received
            self.sent = self.received
            self.deadline = now + self.timeout
        gap = packet.kind == Kind.DATA and self._take(packet)
        moved = (self.received, self.consumed, self.taken) != before
        if self.polls:
            return moved
        if packet.rejected or gap:
            self.deadline = now  # poll at once
        elif moved:
            self.deadline = now + self.timeout
        return moved

    def _take(self, packet: BoardPacket) -> bool:
        """Add a packet's output; whether some before it is missing."""
        known = (self.taken - packet.offset) & 0xFFFF
        if known >= 1 << 15:
            return True
        fresh = packet.payload[known:]
        self.taken += len(fresh)
        self.output += fresh
        size = self.frame_bytes + TRAILER.size
        while len(self.output) >= size:
            frame = bytes(self.output[:size])
            del self.output[:size]
            number, cycle, check = TRAILER.unpack_from(frame, self.frame_bytes)
            if check != zlib.crc32(frame[: -_CRC.size]) or number != self.answered & 0xFFFF:
                raise TransferError("a frame is not what the accelerator sent")
            self.answered += 1
            self.frames.append((frame[: self.frame_bytes], cycle))
        return False
