"""The serial CRC against zlib's."""

import zlib

import numpy as np
import pytest
from amaranth.sim import Simulator

from hwgen.hardware.crc import SerialCrc32

MESSAGES = (b"", b"\x00", b"\xff" * 5, b"123456789", np.random.default_rng(1).bytes(40))


async def take(ctx, dut, byte=0, *, shift=0):
    ctx.set(dut.shift, shift)
    ctx.set(dut.byte, byte)
    ctx.set(dut.valid, 1)
    await ctx.tick()
    ctx.set(dut.valid, 0)
    ctx.set(dut.byte, 0xAA)  # taken, it may change
    ctx.set(dut.shift, not shift)
    await ctx.tick().until(dut.idle)


def run(test):
    dut = SerialCrc32()
    sim = Simulator(dut)
    sim.add_clock(1e-6)

    async def bench(ctx):
        await test(ctx, dut)

    sim.add_testbench(bench)
    sim.run()


@pytest.mark.parametrize("message", MESSAGES, ids=len)
def test_bytes_of_the_crc(message):
    async def test(ctx, dut):
        for _ in range(2):  # start forgets what was before
            ctx.set(dut.start, 1)
            await ctx.tick()
            ctx.set(dut.start, 0)
            for byte in message:
                await take(ctx, dut, byte)
            found = bytearray()
            for _ in range(4):
                found.append(ctx.get(dut.low))
                await take(ctx, dut, 0x55, shift=1)
            assert int.from_bytes(found, "little") == zlib.crc32(message)

    run(test)


@pytest.mark.parametrize("message", MESSAGES, ids=len)
def test_match(message):
    whole = message + zlib.crc32(message).to_bytes(4, "little")

    async def test(ctx, dut):
        for byte in whole[:-1]:
            await take(ctx, dut, byte)
            assert not ctx.get(dut.match)
        await take(ctx, dut, whole[-1])
        assert ctx.get(dut.match)
        await take(ctx, dut, 0)
        assert not ctx.get(dut.match)

    run(test)
