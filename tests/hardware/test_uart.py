from fractions import Fraction

import numpy as np
import pytest
from amaranth import Module
from amaranth.sim import Simulator

from hwgen.hardware.uart import UartReceiver, UartTransmitter, sixteenths

BYTES = [0, 255, 0x55, 0xAA, *np.random.default_rng(1).integers(0, 256, 20).tolist()]


def waveform(values, period, *, gap=0, stop=1):
    """Level of an ideal line for each cycle: bits of ``period`` cycles, a fraction too; an independent sender."""
    levels = [1] * gap
    for value in values:
        levels += [0, *((value >> k) & 1 for k in range(8)), stop]
    return [levels[min(int(t / period), len(levels) - 1)] for t in range(int(len(levels) * period) + 1)] + [1] * 60


def received(levels, cycles_per_bit):
    dut = UartReceiver(cycles_per_bit)
    got = []

    async def drive(ctx):
        for level in levels:
            ctx.set(dut.rx, level)
            _, _, valid, byte = await ctx.tick().sample(dut.valid, dut.byte)
            if valid:
                got.append(byte)

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(drive)
    sim.run()
    return got


@pytest.mark.parametrize("period", [4, 5.3, Fraction(100, 3), 6.9])
@pytest.mark.parametrize("drift", [0.975, 1, 1.025])
def test_receiver_follows_a_clock_that_is_off(period, drift):
    assert received(waveform(BYTES, float(period) * drift, gap=3), period) == BYTES


def test_receiver_drops_bytes_without_stop_bit_and_spikes():
    good, broken = waveform([0x31], 8, gap=2), waveform([0x32], 8, stop=0)
    spike = [0, 0, *[1] * 40]
    assert received([*good, *broken, *good, *spike, *good], 8) == [0x31, 0x31, 0x31]


@pytest.mark.parametrize("period", [4, 5.3, Fraction(100, 3)])
@pytest.mark.parametrize("pause", [0, 7])
def test_transmitter_keeps_time(period, pause):
    dut = UartTransmitter(period)
    levels, done = [], []

    async def feed(ctx):
        for byte in BYTES:
            ctx.set(dut.i.payload, byte)
            ctx.set(dut.i.valid, 1)
            await ctx.tick().until(dut.i.ready)
            ctx.set(dut.i.valid, 0)
            await ctx.tick().repeat(pause + 1) if pause else None
        await ctx.tick().repeat(int(11 * period))
        done.append(True)

    async def watch(ctx):
        while not done:
            _, _, level = await ctx.tick().sample(dut.tx)
            levels.append(level)

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(feed)
    sim.add_testbench(watch)
    sim.run()
    start = levels.index(0)
    rounded = sixteenths(period) / 16
    wanted = waveform(BYTES, rounded)
    if not pause:  # back to back: every edge within a cycle of its place
        middles = [int((k + 0.5) * rounded) for k in range(len(BYTES) * 10)]
        assert [levels[start + t] for t in middles] == [wanted[t] for t in middles]
    assert received(levels, period) == BYTES


def test_loop():
    m = Module()
    m.submodules.sender = sender = UartTransmitter(Fraction(20, 3))
    m.submodules.receiver = receiver = UartReceiver(Fraction(20, 3))
    m.d.comb += receiver.rx.eq(sender.tx)
    got = []

    async def feed(ctx):
        for byte in BYTES:
            ctx.set(sender.i.payload, byte)
            ctx.set(sender.i.valid, 1)
            await ctx.tick().until(sender.i.ready)
        ctx.set(sender.i.valid, 0)
        await ctx.tick().repeat(90)

    async def watch(ctx):
        while True:
            _, _, valid, byte = await ctx.tick().sample(receiver.valid, receiver.byte)
            if valid:
                got.append(byte)

    sim = Simulator(m)
    sim.add_clock(1e-6)
    sim.add_testbench(feed)
    sim.add_testbench(watch, background=True)
    sim.run()
    assert got == BYTES


@pytest.mark.parametrize("value", [3.9, 1 << 20, float("nan")])
def test_errors(value):
    with pytest.raises(ValueError, match=rf"^cycles_per_bit must be in 4\.\.1048575, not {value!r}$"):
        sixteenths(value)
