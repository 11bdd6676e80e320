"""What cocotb runs on the SoC top of a real network (tests/hardware/test_soc_top.py), with cocotbext-axi at its buses."""

import itertools
import json
import logging
import os
import random
from pathlib import Path

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, ReadOnly, RisingEdge
from cocotbext.axi import AxiResp, AxiStreamBus, AxiStreamSink, AxiStreamSource

from hwgen.hardware.soc_top import VERSION, Register
from tests.hardware.register_bench import RegisterBench, pauses

logging.getLogger("cocotb.tb").setLevel(logging.WARNING)  # else a line for each transfer
ENABLE, RESET = 1, 2
EXPECTED = json.loads(Path(os.environ["HWGEN_EXPECTED"]).read_text())
FRAMES = [bytes.fromhex(text) for text in EXPECTED["inputs"]]
RESULTS = [bytes.fromhex(text) for text in EXPECTED["outputs"]]


class Bench(RegisterBench):
    def __init__(self, dut):
        super().__init__(dut)
        self.source = AxiStreamSource(AxiStreamBus.from_prefix(dut, "s_axis"), dut.aclk, **self.reset)
        self.sink = AxiStreamSink(AxiStreamBus.from_prefix(dut, "m_axis"), dut.aclk, **self.reset)

    def pause_streams(self, seed):
        for k, end in enumerate((self.source, self.sink)):
            end.set_pause_generator(pauses(seed + k))

    async def results(self, count):
        return [bytes((await self.sink.recv()).tdata) for _ in range(count)]


@cocotb.test()
async def registers(dut):
    """Each register's first value, errors, byte enables; with pauses on all five channels."""
    bench = await Bench.start(dut)
    bench.pause_bus(1)
    for _ in range(3):
        low, high = await bench.read(Register.ID_LOW), await bench.read(Register.ID_HIGH)
        assert (low | high << 32).to_bytes(8, "little").hex() == EXPECTED["design_id"]
        assert await bench.read(Register.VERSION) == VERSION
        for name in ("input_bytes", "input_words", "output_bytes", "output_words"):
            assert await bench.read(Register[name.upper()]) == EXPECTED[name]
        for register in ("CONTROL", "STATUS", "FRAMES_IN", "FRAMES_OUT", "LATENCY", "INTERVAL", "CYCLES_HIGH"):
            assert await bench.read(Register[register]) == 0
        for address in (*range(len(Register) * 4, 0x80, 4), 0x200, 0xFFC):
            assert (await bench.registers.read(address, 4)).resp == AxiResp.SLVERR
            assert await bench.write(address, 3) == AxiResp.SLVERR
        for register in set(Register) - {Register.CONTROL}:
            assert await bench.write(register, 0xFFFFFFFF) == AxiResp.SLVERR
        assert (await bench.registers.write(Register.CONTROL + 1, b"\xff\xff\xff")).resp == AxiResp.OKAY
        assert await bench.read(Register.CONTROL) == 0
        assert await bench.write(Register.CONTROL, ENABLE) == AxiResp.OKAY
        assert await bench.read(Register.CONTROL) == ENABLE
        assert (await bench.registers.write(Register.CONTROL, b"\x00")).resp == AxiResp.OKAY
    first = await bench.read(Register.CYCLES_LOW)
    assert first < await bench.read(Register.CYCLES_LOW)


async def transfer(dut, channel, **values):
    for name, value in values.items():
        getattr(dut, f"s_axi_{name}").value = value
    getattr(dut, f"s_axi_{channel}valid").value = 1
    ready = getattr(dut, f"s_axi_{channel}ready")
    while True:
        await ReadOnly()
        taken = bool(ready.value)
        await RisingEdge(dut.aclk)
        if taken:
            break
    getattr(dut, f"s_axi_{channel}valid").value = 0


@cocotb.test()
async def order_and_backpressure(dut):
    """Address first, data first; answers stay until taken, and till then no further write or read takes effect."""
    dut.aresetn.value = 0
    for port in ("awvalid", "wvalid", "bready", "arvalid", "rready"):
        getattr(dut, f"s_axi_{port}").value = 0
    Clock(dut.aclk, 10, unit="ns", impl="gpi").start()
    await ClockCycles(dut.aclk, 4)
    dut.aresetn.value = 1
    await ClockCycles(dut.aclk, 30)
    for first, second, gap in itertools.product(("aw", "w"), ("aw", "w"), (0, 3)):
        if first == second:
            continue
        for address, resp in ((Register.CONTROL, 0), (Register.STATUS, 2)):
            values = {"aw": {"awaddr": address}, "w": {"wdata": ENABLE, "wstrb": 15}}
            await transfer(dut, first, **values[first])
            await ClockCycles(dut.aclk, 1 + gap)
            assert not dut.s_axi_bvalid.value
            await transfer(dut, second, **values[second])
            for _ in range(5):
                await RisingEdge(dut.aclk)
                await ReadOnly()
                assert (dut.s_axi_bvalid.value, dut.s_axi_bresp.value) == (1, resp)
            await RisingEdge(dut.aclk)
            dut.s_axi_bready.value = 1
            await RisingEdge(dut.aclk)
            dut.s_axi_bready.value = 0
            await ReadOnly()
            assert not dut.s_axi_bvalid.value
            await RisingEdge(dut.aclk)
    # Two writes and two reads whose answers nobody takes: the second waits, and neither is lost.
    for data in (0, ENABLE):
        await transfer(dut, "aw", awaddr=Register.CONTROL)
        await transfer(dut, "w", wdata=data, wstrb=1)
    for address in (Register.CONTROL, 0x100):
        await transfer(dut, "ar", araddr=address)
    for _ in range(6):
        await RisingEdge(dut.aclk)
        await ReadOnly()
        assert (dut.s_axi_bvalid.value, dut.s_axi_rvalid.value, dut.s_axi_rresp.value, dut.s_axi_rdata.value) == (1, 1, 0, 0)
        assert not any(getattr(dut, f"s_axi_{channel}ready").value for channel in ("aw", "w", "ar"))
    await RisingEdge(dut.aclk)
    dut.s_axi_bready.value, dut.s_axi_rready.value = 1, 1
    answers = []
    for _ in range(6):
        await ReadOnly()
        answers += [("b", int(dut.s_axi_bresp.value))] if dut.s_axi_bvalid.value else []
        answers += [("r", int(dut.s_axi_rresp.value))] if dut.s_axi_rvalid.value else []
        await RisingEdge(dut.aclk)
    assert sorted(answers) == [("b", 0), ("b", 0), ("r", 0), ("r", 2)]


async def watch_answers(dut):
    """An answer that has not been taken stays as it is."""
    waiting = {}
    while True:
        await RisingEdge(dut.aclk)
        await ReadOnly()  # the cycle that begins with this edge
        for valid, ready, payload in (("b", "b", ("bresp",)), ("r", "r", ("rresp", "rdata"))):
            now = tuple(int(getattr(dut, f"s_axi_{name}").value) for name in (f"{valid}valid", *payload))
            if valid in waiting:
                assert now == waiting[valid]
            waiting.pop(valid, None)
            if now[0] and not getattr(dut, f"s_axi_{ready}ready").value:
                waiting[valid] = now


@cocotb.test()
async def many_at_once(dut):
    """Reads and writes all under way at the same time, pauses on each channel by itself: answers in order, none lost."""
    bench = await Bench.start(dut)
    bench.pause_bus(40)
    watcher = cocotb.start_soon(watch_answers(dut))
    rng = random.Random(6)
    constants = {
        Register.VERSION: VERSION,
        Register.INPUT_WORDS: EXPECTED["input_words"],
        Register.OUTPUT_BYTES: EXPECTED["output_bytes"],
        Register.FRAMES_IN: 0,
    }
    bus, last = bench.registers, 0
    writes, reads = [], []
    for _ in range(200):
        address = rng.choice([Register.CONTROL, Register.CONTROL, Register.VERSION, Register.STATUS, 0x3C, 0xFFC])
        data, kept = rng.randrange(2), rng.random() < 0.2
        if kept:  # none of the lowest byte
            writes.append((bus.init_write(address + 1, b"\xff\xff"), address))
        else:
            writes.append((bus.init_write(address, data.to_bytes(4, "little")), address))
            last = data if address == Register.CONTROL else last
        address = rng.choice([*constants, 0x3C, 0x800])
        reads.append((bus.init_read(address, 4), address))
    for event, address in writes:
        await event.wait()
        assert event.data.resp == (AxiResp.OKAY if address == Register.CONTROL else AxiResp.SLVERR)
    for event, address in reads:
        await event.wait()
        assert event.data.resp == (AxiResp.OKAY if address in constants else AxiResp.SLVERR)
        assert int.from_bytes(event.data.data, "little") == constants.get(address, 0)
    assert await bench.read(Register.CONTROL) == last
    assert not watcher.done()


@cocotb.test()
async def frames(dut):
    """The network's vectors, without pauses: right, and as fast as the accelerator alone."""
    bench = await Bench.start(dut)
    before = await bench.read(Register.CYCLES_LOW)
    await bench.write(Register.CONTROL, ENABLE)
    for frame in FRAMES * 2:
        bench.source.send_nowait(frame)
    assert await bench.results(2 * len(FRAMES)) == RESULTS * 2
    count, interval = 2 * len(FRAMES), EXPECTED["interval_cycles"]
    assert [await bench.read(r) for r in (Register.FRAMES_IN, Register.FRAMES_OUT, Register.STATUS)] == [count, count, 0]
    assert await bench.read(Register.INTERVAL) == interval
    passed = await bench.read(Register.CYCLES_LOW) - before
    assert await bench.read(Register.LATENCY) < passed
    # A frame alone: the latency is what was predicted.
    bench.source.send_nowait(FRAMES[0])
    assert await bench.results(1) == RESULTS[:1]
    latency = await bench.read(Register.LATENCY)
    assert abs(latency - EXPECTED["latency_cycles"]) <= EXPECTED["latency_cycles"] / 100
    assert (count - 1) * interval + latency <= passed <= (count - 1) * interval + latency + 100
    assert await bench.read(Register.CYCLES_HIGH) == 0


@cocotb.test()
async def frames_with_pauses(dut):
    """The network's vectors with pauses at both streams and the bus."""
    bench = await Bench.start(dut)
    bench.pause_streams(10)
    bench.pause_bus(20)
    await bench.write(Register.CONTROL, ENABLE)
    for frame in FRAMES * 2:
        bench.source.send_nowait(frame)
    reader = cocotb.start_soon(bench.results(2 * len(FRAMES)))
    counts = []
    while not reader.done():
        entered, left = await bench.read(Register.FRAMES_IN), await bench.read(Register.FRAMES_OUT)
        counts.append((entered, left))
        await ClockCycles(dut.aclk, 300)
    assert await reader == RESULTS * 2
    assert counts == sorted(counts)
    assert len(set(counts)) > 2


@cocotb.test()
async def enable(dut):
    """Frames begin to come in only while enabled; one that has begun goes on."""
    bench = await Bench.start(dut)
    for frame in FRAMES:
        bench.source.send_nowait(frame)
    await ClockCycles(dut.aclk, 50)
    assert await bench.read(Register.STATUS) == 0
    assert bench.sink.empty()
    for done in range(1, len(FRAMES) + 1):
        await bench.write(Register.CONTROL, ENABLE)
        await bench.write(Register.CONTROL, 0)
        assert await bench.read(Register.STATUS) == 1
        assert await bench.results(1) == [RESULTS[done - 1]]
        await ClockCycles(dut.aclk, 50)
        assert [await bench.read(r) for r in (Register.FRAMES_IN, Register.FRAMES_OUT, Register.STATUS)] == [done, done, 0]


@cocotb.test()
async def reset(dut):
    """A reset in the middle of a frame forgets it; the next one is right."""
    bench = await Bench.start(dut)
    rng = np.random.default_rng(5)
    for wait in rng.integers(1, 2 * EXPECTED["interval_cycles"], 6).tolist():
        await bench.write(Register.CONTROL, ENABLE)
        bench.source.send_nowait(FRAMES[0])
        bench.source.send_nowait(FRAMES[1])
        bench.sink.pause = True
        await ClockCycles(dut.aclk, wait)
        await bench.write(Register.CONTROL, RESET)
        assert await bench.read(Register.CONTROL) == RESET
        # What feeds and takes begins anew as well: here by the wire.
        dut.aresetn.value = 0
        await ClockCycles(dut.aclk, 2)
        dut.aresetn.value = 1
        bench.source.clear()
        bench.sink.clear()
        bench.sink.pause = False
        await ClockCycles(dut.aclk, 30)
        assert [await bench.read(r) for r in (Register.FRAMES_IN, Register.STATUS, Register.CONTROL)] == [0, 0, 0]
        await bench.write(Register.CONTROL, ENABLE)
        bench.source.send_nowait(FRAMES[2])
        assert await bench.results(1) == RESULTS[2:3]


@cocotb.test()
async def reset_by_register(dut):
    """Without the wire: a whole number of frames has come, one stands at the output."""
    bench = await Bench.start(dut)
    await bench.write(Register.CONTROL, ENABLE)
    bench.sink.pause = True
    bench.source.send_nowait(FRAMES[0])
    await ClockCycles(dut.aclk, 2 * EXPECTED["latency_cycles"])
    assert dut.m_axis_tvalid.value
    assert await bench.read(Register.STATUS) == 1
    await bench.write(Register.CONTROL, RESET | ENABLE)
    assert not dut.m_axis_tvalid.value
    bench.source.send_nowait(FRAMES[1])
    bench.sink.pause = False
    assert await bench.results(1) == RESULTS[1:2]
    assert [await bench.read(r) for r in (Register.FRAMES_IN, Register.FRAMES_OUT, Register.INTERVAL)] == [1, 1, 0]
    assert await bench.read(Register.CONTROL) == ENABLE
