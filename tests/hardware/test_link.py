"""The link against a host written here from docs/protocol.md alone: nothing of hwgen.host is used."""

import binascii
import hashlib
import itertools
import struct

import numpy as np
import pytest
from amaranth.sim import Simulator

from hwgen.errors import HwgenError
from hwgen.hardware.emit import emit
from hwgen.hardware.link import Link, LinkParams, link_params
from tests.hardware.designs import fifos

PERIOD = 4  # cycles per bit
CYCLE = 1e-6  # seconds
ID = bytes(range(0x79, 0x81))  # has a flag and an escape
INPUT, OUTPUT = (3, 4), (2, 3)  # bytes of a word, words of a frame
PARAMS = LinkParams(
    design_id=ID,
    input_bytes=INPUT[0],
    input_words=INPUT[1],
    output_bytes=OUTPUT[0],
    output_words=OUTPUT[1],
    cycles_per_bit=PERIOD,
    input_buffer=64,
    output_buffer=64,
)
RESET, POLL, DATA = 1, 2, 3
FRAME = INPUT[0] * INPUT[1]
RNG = np.random.default_rng(5)


def stuffed(body):
    return b"\x7e" + b"".join(bytes((0x7D, b ^ 0x20)) if b in (0x7D, 0x7E) else bytes((b,)) for b in body) + b"\x7e"


def packet(kind, session, taken=0, offset=0, payload=b""):
    body = struct.pack("<BHHH", kind, session, taken, offset) + payload
    return stuffed(body + struct.pack("<I", binascii.crc32(body)))


def answer(frame):
    """What the accelerator of these tests makes of a frame: each output byte a sum of all input bytes."""
    return bytes((sum(frame) + 37 * k) & 0xFF for k in range(OUTPUT[0] * OUTPUT[1]))


class Bench:
    """The link, a line with bytes on it, and a small accelerator in Python."""

    def __init__(self, test, *, limit=200_000, pace=0):
        self.dut = Link(PARAMS)
        self.packets, self.words, self.pace = [], [], pace
        sim = Simulator(self.dut)
        sim.add_clock(CYCLE)

        async def main(ctx):
            self.ctx = ctx
            await ctx.delay(30.3 * CYCLE)  # between clock edges
            await test(self)

        async def stop(ctx):
            await ctx.delay(limit * CYCLE)
            raise AssertionError(f"not done after {limit} cycles")

        sim.add_testbench(main)
        for background in (self._listen, self._accelerate, stop):
            sim.add_testbench(background, background=True)
        sim.run()

    async def wait(self, cycles):
        await self.ctx.delay(cycles * CYCLE)

    async def put(self, data):
        """Bytes onto the line."""
        for byte in data:
            for level in (0, *((byte >> k) & 1 for k in range(8)), 1):
                self.ctx.set(self.dut.rx, level)
                await self.wait(PERIOD)

    async def get(self):
        """The board's next packet, as (kind, session, offset, received, consumed, payload)."""
        while not self.packets:
            await self.wait(10)
        return self.packets.pop(0)

    async def quiet(self, cycles=1500):
        """Nothing more must come."""
        await self.wait(cycles)
        assert self.packets == []

    async def ask(self, data):
        await self.put(data)
        return await self.get()

    async def begin(self, session):
        got = await self.ask(packet(RESET, session))
        assert got[:5] == (0x41, session, 0, 0, 0)
        return got[5]

    async def _listen(self, ctx):
        part, escaped = bytearray(), False
        while True:
            await ctx.negedge(self.dut.tx)
            await ctx.delay((PERIOD / 2 + 0.3) * CYCLE)
            byte = 0
            for k in range(8):
                await ctx.delay(PERIOD * CYCLE)
                byte |= ctx.get(self.dut.tx) << k
            await ctx.delay(PERIOD * CYCLE)
            assert ctx.get(self.dut.tx) == 1
            if byte == 0x7E:
                assert not escaped
                if part:
                    body, check = bytes(part[:-4]), bytes(part[-4:])
                    assert check == struct.pack("<I", binascii.crc32(body))
                    self.packets.append((*struct.unpack("<BHHHH", body[:9]), body[9:]))
                part.clear()
            elif byte == 0x7D:
                escaped = True
            else:
                part.append(byte ^ 0x20 if escaped else byte)
                escaped = False

    async def _accelerate(self, ctx):
        dut, words = self.dut, []
        while True:
            ctx.set(dut.s_axis_tready, 1)
            _, _, reset, valid, data, last = await ctx.tick().sample(
                dut.accelerator_reset, dut.s_axis_tvalid, dut.s_axis_tdata, dut.s_axis_tlast
            )
            if reset:
                words.clear()
                continue
            if not valid:
                continue
            words.append(data.to_bytes(INPUT[0], "little"))
            self.words.append(words[-1])
            assert last == (len(words) == INPUT[1])
            ctx.set(dut.s_axis_tready, 0)
            if await self._interrupted(ctx, self.pace):
                continue
            if last:
                result, words = answer(b"".join(words)), []
                for k in range(OUTPUT[1]):
                    ctx.set(dut.m_axis_tdata, int.from_bytes(result[k * OUTPUT[0] : (k + 1) * OUTPUT[0]], "little"))
                    ctx.set(dut.m_axis_tlast, k == OUTPUT[1] - 1)
                    ctx.set(dut.m_axis_tvalid, 1)
                    while True:
                        _, _, reset, ready = await ctx.tick().sample(dut.accelerator_reset, dut.m_axis_tready)
                        if reset or ready:
                            break
                    ctx.set(dut.m_axis_tvalid, 0)
                    if reset:
                        break

    async def _interrupted(self, ctx, cycles):
        for _ in range(cycles):
            _, _, reset = await ctx.tick().sample(self.dut.accelerator_reset)
            if reset:
                return True
        return False


def check_frame(output, number, frame):
    """A frame's bytes with its trailer; returns the cycle in it."""
    body, check = output[:-4], output[-4:]
    assert check == struct.pack("<I", binascii.crc32(body))
    got, cycle = struct.unpack("<HI", body[-6:])
    assert (got, body[:-6]) == (number, answer(frame))
    return cycle


def test_identity_and_a_frame():
    async def test(b):
        assert await b.begin(0x1234) == struct.pack("<B8sHIHIHH", 1, ID, *INPUT, *OUTPUT, 64, 64)
        frame = bytes((0x7E, 0x7D, 0x5E, *range(9)))
        got = await b.ask(packet(DATA, 0x1234, payload=frame))
        assert got[:4] == (0x43, 0x1234, 0, FRAME)
        assert b"".join(b.words) == frame
        got = got if got[5] else await b.get()
        assert got[:5] == (0x43, 0x1234, 0, FRAME, FRAME)
        first = check_frame(got[5], 0, frame)
        await b.put(packet(DATA, 0x1234, taken=16, offset=FRAME, payload=frame[::-1]))
        got = [await b.get()]
        while not got[-1][5]:
            got.append(await b.get())
        assert got[-1][:5] == (0x43, 0x1234, 16, 2 * FRAME, 2 * FRAME)
        assert check_frame(got[-1][5], 1, frame[::-1]) > first
        await b.quiet()

    Bench(test)


@pytest.mark.parametrize("split", [1, 2, 5, 11])
def test_packets_need_not_end_with_words(split):
    frame = bytes(range(FRAME))

    async def test(b):
        await b.begin(7)
        await b.put(packet(DATA, 7, payload=frame[:split]))
        assert (await b.get())[:4] == (0x43, 7, 0, split)
        await b.put(packet(DATA, 7, offset=split, payload=frame[split:]))
        while not (got := await b.get())[5]:
            assert got[:4] == (0x43, 7, 0, FRAME)
        check_frame(got[5], 0, frame)

    Bench(test)


GOOD = packet(DATA, 9, offset=0, payload=bytes(FRAME))


BAD = (
    bytes((*GOOD[:12], GOOD[12] ^ 4, *GOOD[13:])),  # a bit of the payload
    bytes((*GOOD[:3], GOOD[3] ^ 1, *GOOD[4:])),  # of the session
    bytes((*GOOD[:-2], GOOD[-2] ^ 128, GOOD[-1])),  # of the CRC
    GOOD[:9] + GOOD[10:],  # a byte lost
    GOOD[:9] + b"\x55" + GOOD[9:],  # added
    GOOD[:7] + b"\x7e",  # cut short in the header
    GOOD[:15] + b"\x7e",  # and in the payload
    b"\x7e\x00\x00\x00\x00\x7e",  # no bytes, with the CRC that fits
    stuffed(struct.pack("<BHI", 3, 9, binascii.crc32(struct.pack("<BH", 3, 9)))),  # a header too short
    packet(DATA, 8, payload=bytes(FRAME)),  # another session
    packet(DATA, 9, offset=1, payload=bytes(FRAME)),  # out of order
    packet(DATA, 9, offset=0xFFF4, payload=bytes(FRAME)),  # already here
    packet(4, 9, payload=bytes(FRAME)),  # no such kind
    packet(DATA, 9, payload=bytes(100)),  # does not fit
    packet(DATA, 9, payload=bytes(61)),
    b"\x7e" + RNG.integers(0, 125, 80, np.uint8).tobytes() + b"\x7e",
)


def test_nothing_of_a_bad_packet_enters():
    async def test(b):
        await b.begin(9)
        for bad in BAD:
            assert (await b.ask(bad))[:5] == (0xC3, 9, 0, 0, 0)
        assert b.words == []
        await b.put(GOOD)
        while not (got := await b.get())[5]:
            assert got[:4] == (0x43, 9, 0, FRAME)
        check_frame(got[5], 0, bytes(FRAME))
        assert len(b.words) == INPUT[1]

    Bench(test)


@pytest.mark.parametrize("bad", [BAD[0], BAD[3], BAD[6], BAD[13]], ids=["bit", "lost", "cut", "long"])
def test_a_good_packet_after_a_bad_one_is_taken(bad):
    async def test(b):
        await b.begin(9)
        assert (await b.ask(bad))[:5] == (0xC3, 9, 0, 0, 0)
        assert (await b.ask(GOOD))[:4] == (0x43, 9, 0, FRAME)

    Bench(test)


def test_the_line_is_at_rest_before_and_between_packets():
    async def test(b):
        await b.quiet()
        await b.put(b"\x7e\x7e\x7e")
        await b.quiet()
        assert (await b.ask(b"noise\x7e"))[:2] == (0xC3, 0)
        assert len(await b.begin(3)) == 25
        await b.quiet()

    Bench(test)


def test_a_full_packet_fits_and_the_buffer_says_when_it_is_free_again():
    async def test(b):
        await b.begin(9)
        data = RNG.integers(0, 256, 60, np.uint8).tobytes()
        assert (await b.ask(packet(DATA, 9, payload=data)))[:4] == (0x43, 9, 0, 60)
        seen = []
        while not seen or seen[-1][4] < 60 - 16:
            seen.append(await b.get())
        consumed = [got[4] for got in seen]
        assert consumed == sorted(consumed)
        assert b"".join(b.words) == data[: 3 * len(b.words)]

    Bench(test, pace=300)


def test_output_waits_for_the_host_and_is_sent_again_when_asked():
    frames = [RNG.integers(0, 256, FRAME, np.uint8).tobytes() for _ in range(8)]

    async def test(b):
        await b.begin(9)
        for k in range(4):  # 64 bytes of output: the buffer is full
            await b.put(packet(DATA, 9, offset=k * FRAME, payload=frames[k]))
        await b.wait(6_000)
        output = {}
        while b.packets:
            got = b.packets.pop(0)
            output[got[2]] = got[5]
        assert b"".join(output[k] for k in sorted(output)) == b"".join(output.values())
        everything = b"".join(output.values())
        assert len(everything) == 64
        await b.put(packet(DATA, 9, offset=4 * FRAME, payload=frames[4]))
        got = await b.get()
        assert got[:4] == (0x43, 9, 64, 5 * FRAME)
        await b.quiet()  # no room for its output
        await b.put(packet(POLL, 9, taken=32, offset=0xBEEF))  # the host has two frames: the others again
        assert await b.get() == (0x42, 9, 0xBEEF, 5 * FRAME, 5 * FRAME, b"")
        again = b""
        while len(again) < 48:
            got = await b.get()
            assert got[2] == 32 + len(again)
            again += got[5]
        assert again[:32] == everything[32:]
        for k in range(5):
            check_frame((everything + again[32:])[16 * k : 16 * k + 16], k, frames[k])
        await b.quiet()
        await b.put(packet(POLL, 9, taken=80, offset=1))
        assert await b.get() == (0x42, 9, 1, 5 * FRAME, 5 * FRAME, b"")
        await b.quiet()

    Bench(test)


def test_a_session_in_mid_frame_and_mid_packet_starts_from_nothing():
    frame = bytes(range(100, 100 + FRAME))

    async def test(b):
        await b.begin(1)
        await b.put(packet(DATA, 1, payload=bytes(5)))  # part of a frame
        await b.put(packet(DATA, 1, offset=5, payload=bytes(7))[:8])  # part of a packet
        await b.put(packet(RESET, 2))
        while (got := await b.get())[1] != 2:
            pass
        assert got[:5] == (0x41, 2, 0, 0, 0)
        for k in range(2):
            b.words.clear()
            await b.put(packet(DATA, 2, taken=16 * k, offset=FRAME * k, payload=frame))
            while not (got := await b.get())[5]:
                assert got[:2] == (0x43, 2)
            check_frame(got[5], k, frame)
            assert b"".join(b.words) == frame

    Bench(test, pace=20)


def test_a_careless_line():
    """Stop and wait over a line that damages a third of all packets: every frame's output comes, in order and right."""
    rng = np.random.default_rng(11)
    frames = [rng.integers(0, 256, FRAME, np.uint8).tobytes() for _ in range(10)]

    def damaged(data):
        data = bytearray(data)
        place = int(rng.integers(len(data)))
        match rng.integers(9):
            case 0:
                data[place] ^= 1 << rng.integers(8)
            case 1:
                del data[place]
            case 2:
                data[place:place] = rng.integers(0, 256, rng.integers(1, 20), np.uint8).tobytes()
        return bytes(data)

    async def test(b):
        await b.begin(9)
        taken = received = number = 0
        output = b""
        polls = itertools.count()
        while len(output) < 16 * len(frames):
            poll = next(polls)
            sent = 0
            while received < FRAME * len(frames) and sent < 2:
                size = int(rng.integers(1, 15))
                start = received
                data = b"".join(frames)[start : start + size]
                await b.put(damaged(packet(DATA, 9, taken=taken, offset=start, payload=data)))
                sent += 1
            await b.put(b"\x7e" + packet(POLL, 9, taken=taken, offset=poll))
            while True:
                got = await b.get()
                assert got[1] == 9
                if got[0] & 0x7F == 0x42 and got[2] == poll:
                    break
            assert got[3] >= received
            received = got[3]
            await b.wait(1500)
            while b.packets:
                got = b.packets.pop(0)
                if got[0] & 0x7F == 0x43 and got[2] == taken and rng.integers(3):
                    output += got[5]
                    taken += len(got[5])
        for number, frame in enumerate(frames):
            check_frame(output[16 * number : 16 * number + 16], number, frame)

    Bench(test, limit=300_000)


def test_params_of_a_folder(tmp_path):
    emit(fifos(lanes=5), tmp_path)
    params = link_params(tmp_path, 33.3, input_buffer=512)
    digest = hashlib.sha256((tmp_path / "tiny.v").read_bytes()).digest()
    assert params == LinkParams(
        design_id=digest[:8],
        input_bytes=5,
        input_words=20,
        output_bytes=5,
        output_words=20,
        cycles_per_bit=33.3,
        input_buffer=512,
    )
    (tmp_path / "tiny.v").unlink()
    with pytest.raises(HwgenError, match=r"^cannot read .*tiny\.v: No such file or directory$"):
        link_params(tmp_path, 4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"design_id": b"1234567"}, "design_id must have 8 bytes, not 7"),
        ({"input_bytes": 0}, r"input_bytes must be in 1\.\.65535, not 0"),
        ({"output_words": 1 << 32}, r"output_words must be in 1\.\.4294967295, not 4294967296"),
        ({"input_buffer": 1000}, r"input_buffer must be a power of two in 64\.\.16384, not 1000"),
        ({"output_buffer": 32}, r"output_buffer must be a power of two in 64\.\.16384, not 32"),
        ({"cycles_per_bit": 3}, r"cycles_per_bit must be in 4\.\.1048575, not 3"),
    ],
)
def test_errors(change, message):
    fields = {name: getattr(PARAMS, name) for name in PARAMS.__dataclass_fields__}
    with pytest.raises(ValueError, match=f"^{message}$"):
        LinkParams(**(fields | change))
