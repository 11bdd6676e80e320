"""The host's half of the protocol against a board in Python: thousands of faults in seconds."""

import struct
import zlib

import numpy as np
import pytest

from hwgen.errors import HwgenError
from hwgen.hardware.packets import Kind
from hwgen.host.protocol import BoardPacket, Decoder, Identity, Transfer, TransferError, encode

BUFFERS = (256, 128)
IDENTITY = Identity(
    version=1,
    design_id=b"01234567",
    input_bytes=3,
    input_words=100,
    output_bytes=1,
    output_words=50,
    input_buffer=BUFFERS[0],
    output_buffer=BUFFERS[1],
)
FRAME, RESULT = 300, 50


def wire(kind, session, offset, received, consumed, payload=b""):
    """A board's packet on the wire."""
    body = struct.pack("<BHHHH", kind, session, offset & 0xFFFF, received & 0xFFFF, consumed & 0xFFFF) + payload
    body += struct.pack("<I", zlib.crc32(body))
    return b"\x7e" + body.replace(b"\x7d", b"\x7d\x5d").replace(b"\x7e", b"\x7d\x5e") + b"\x7e"


def result(frame, number):
    """What the board makes of a frame, and its trailer."""
    output = bytes((sum(frame) + k) & 0xFF for k in range(RESULT)) + struct.pack("<HI", number & 0xFFFF, 7 * number)
    return output + struct.pack("<I", zlib.crc32(output))


class Board:
    """Takes packets and gives packets, as the link does; input stays ``slow`` calls in its buffer."""

    def __init__(self, session, slow=0):
        self.session, self.slow, self.part = session, slow, b""
        self.input, self.consumed, self.output, self.taken, self.sent, self.frames = b"", 0, b"", 0, 0, 0

    def feed(self, data):
        *packets, self.part = (self.part + data).split(b"\x7e")
        reply = b"".join(self._packet(p.replace(b"\x7d\x5e", b"\x7e").replace(b"\x7d\x5d", b"\x7d")) for p in packets if p)
        step = len(self.input) - self.consumed if not self.slow else min(self.slow, len(self.input) - self.consumed)
        self.consumed += step
        while (self.frames + 1) * FRAME <= self.consumed and len(self.output) - self.taken + RESULT + 10 <= BUFFERS[1]:
            self.output += result(self.input[self.frames * FRAME : (self.frames + 1) * FRAME], self.frames)
            self.frames += 1
        while self.sent < len(self.output):
            payload = self.output[self.sent : self.sent + 32]
            reply += wire(0x43, self.session, self.sent, len(self.input), self.consumed, payload)
            self.sent += len(payload)
        return reply + (wire(0x43, self.session, self.sent, len(self.input), self.consumed) if step else b"")

    def _packet(self, body):
        if len(body) < 11 or zlib.crc32(body[:-4]) != struct.unpack("<I", body[-4:])[0]:
            return self._say(0xC3)
        kind, session, taken, offset = struct.unpack_from("<BHHH", body)
        taken += len(self.output) - ((len(self.output) - taken) & 0xFFFF) - taken  # the latest place of that number
        payload = body[7:-4]
        assert session == self.session
        assert self.taken <= taken <= len(self.output)
        self.taken = taken
        if kind == 2:
            self.sent = taken
            return wire(0x42, session, offset, len(self.input), self.consumed)
        assert len(self.input) + len(payload) - self.consumed <= BUFFERS[0] - 4 or offset != len(self.input) & 0xFFFF
        if offset != len(self.input) & 0xFFFF:
            return self._say(0xC3)
        self.input += payload
        return self._say(0x43)

    def _say(self, kind):
        return wire(kind, self.session, self.sent, len(self.input), self.consumed)


def damaged(data, rng, rate):
    """Some bits inverted, bytes lost, bytes added."""
    result, places = bytearray(), np.flatnonzero(rng.random(len(data)) < rate)
    start = 0
    for place in places.tolist():
        result += data[start:place]
        start = place
        match rng.integers(4):
            case 0:
                result.append(data[place] ^ (1 << int(rng.integers(8))))
                start += 1
            case 1:
                start += 1
            case 2:
                result += rng.integers(0, 256, int(rng.integers(1, 9)), np.uint8).tobytes()
            case 3:
                start = min(len(data), place + int(rng.integers(2, 200)))
    return bytes(result + data[start:])


@pytest.mark.parametrize(
    ("rate", "slow", "delay"), [(0, 0, 0), (0, 7, 1), (1e-3, 0, 1), (5e-3, 50, 3), (5e-3, 0, 0), (5e-4, 200, 8)]
)
def test_every_frame_arrives_once_and_right(rate, slow, delay):
    """More than 2^16 bytes; packets are ``delay`` calls under way."""
    rng = np.random.default_rng(int(1e4 * rate) + slow)
    frames = [rng.integers(0, 256, FRAME, np.uint8).tobytes() for _ in range(300 if rate < 5e-3 else 100)]
    board, transfer, decoder = Board(0x7E7D, slow), Transfer(IDENTITY, 0x7E7D, 0.0), Decoder()
    there, back = [b""] * delay, [b""] * delay
    done, now = [], 0.0
    for frame in frames:
        transfer.add(frame)
    while len(done) < len(frames):
        now += 0.01
        assert now < 10_000
        there.append(damaged(transfer.send(now, expecting=True), rng, rate))
        back.append(damaged(board.feed(there.pop(0)), rng, rate))
        for packet in decoder.feed(back.pop(0)):
            transfer.receive(packet, now)
        done += transfer.frames
        transfer.frames.clear()
    assert board.input == b"".join(frames)
    assert done == [(result(f, k)[:RESULT], 7 * k) for k, f in enumerate(frames)]
    assert (transfer.added, transfer.answered, transfer.unsent) == (len(frames), len(frames), 0)
    if rate == 0:
        assert (transfer.resent, decoder.damaged) == (0, 0)
    else:
        assert decoder.damaged > 10


def test_encoding():
    assert encode(Kind.DATA, 0x7E7D, 0x10001, 0x2FFFE, b"\x7e\x7d\x5e").hex(" ") == (
        "7e 03 7d 5d 7d 5e 01 00 fe ff 7d 5e 7d 5d 5e "
        + zlib.crc32(bytes.fromhex("03 7d 7e 01 00 fe ff 7e 7d 5e")).to_bytes(4, "little").hex(" ")
        + " 7e"
    )


def test_decoding_in_pieces_and_of_rubbish():
    good = wire(0xC3, 5, 6, 7, 8, b"\x7eabc\x7d")
    packet = BoardPacket(kind=Kind.DATA, rejected=True, session=5, offset=6, received=7, consumed=8, payload=b"\x7eabc\x7d")
    decoder = Decoder()
    assert [p for k in range(len(good)) for p in decoder.feed(good[k : k + 1])] == [packet]
    assert decoder.damaged == 0
    host = encode(Kind.DATA, 5, 6, 7, b"abcd")  # an echo
    for bad in (b"\x7e", b"abc", b"\x7d", b"ab\x7d\x7d\x5e", good[:-3], good[1:9], wire(0x44, 5, 6, 7, 8), host, b"\0\0\0\0"):
        before = decoder.damaged
        assert list(decoder.feed(bad + b"\x7e")) == []
        assert decoder.damaged == before + (bad != b"\x7e")
    assert list(decoder.feed(bytes(100_000))) == []
    assert len(decoder.part) == 0
    assert list(decoder.feed(good)) == [packet]


def say(**changes):
    fields = {"kind": Kind.DATA, "rejected": False, "session": 1, "offset": 0, "received": 0, "consumed": 0, "payload": b""}
    return BoardPacket(**(fields | changes))


BAD_CHECK = result(bytes(FRAME), 0)[:-1] + b"\0"


@pytest.mark.parametrize(
    ("packet", "message"),
    [
        (say(session=2), "the board is in another session"),
        (say(received=301), "the board has more input than it was sent"),
        (say(received=63, consumed=64), "the board has more input than it was sent"),
        (say(payload=BAD_CHECK), "a frame is not what the accelerator sent"),
        (say(payload=result(bytes(FRAME), 1)), "a frame is not what the accelerator sent"),
    ],
)
def test_what_ends_a_session(packet, message):
    transfer = Transfer(IDENTITY, 1, 0.0)
    transfer.add(bytes(FRAME))
    transfer.send(0.0, expecting=True)
    with pytest.raises(TransferError, match=f"^{message}$"):
        transfer.receive(packet, 0.0)


def test_silence_is_asked_about_ever_more_slowly():
    transfer = Transfer(IDENTITY, 1, 0.0)
    transfer.add(bytes(FRAME))
    assert transfer.send(0.0, expecting=True)
    polls = [tick for tick in range(1, 1000) if transfer.send(tick / 100, expecting=True)]
    assert len(polls) in range(6, 12)
    assert max(np.diff(polls)) == 200
    quiet = Transfer(IDENTITY, 1, 0.0)
    assert not any(quiet.send(tick, expecting=False) for tick in range(100))


def test_another_version():
    with pytest.raises(HwgenError, match=r"^the board speaks protocol version 9, not 1: build its bitstream again$"):
        Identity.read(b"\x09abc")
    with pytest.raises(HwgenError, match=r"^the board speaks protocol version none, not 1: build its bitstream again$"):
        Identity.read(b"")
