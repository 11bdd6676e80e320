"""What cocotb runs on the engine (tests/overlay/test_bus.py), with cocotbext-axi's memory at its bus, and one of our own."""

import logging
import os
import random
from collections import deque
from pathlib import Path

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, ReadOnly, RisingEdge, with_timeout
from cocotbext.axi import AxiBus, AxiRam
from cocotbext.axi.memory import Memory

logging.getLogger("cocotb.tb").setLevel(logging.CRITICAL)  # else a line for each transfer, or each error
SIZE = 1 << 20  #: of memory; addresses wrap around
BUS = int(os.environ["HWGEN_BUS"])
LONGEST = 16  #: beats of a burst
RUNS = [dict(np.load(path)) for path in sorted(Path(os.environ["HWGEN_RUNS"]).glob("*.npz"))]
DIGITS = RUNS[-1]
ADDRESS = ("addr", "len", "size", "burst", "id", "prot", "cache", "lock", "qos")
PAYLOAD = {"ar": ADDRESS, "aw": ADDRESS, "w": ("data", "strb", "last")}


def pauses(seed):
    rng = random.Random(seed)
    while True:
        share = rng.choice([0, 0, 0.1, 0.5, 0.9])
        yield from (rng.random() < share for _ in range(rng.randrange(100)))


class Bench:
    """The engine, its clock, and what watches its bus."""

    def __init__(self, dut):
        self.dut = dut
        self.bursts = {"ar": [], "aw": []}  # (address, beats) of all
        self.retired = 0

    @classmethod
    async def start(cls, dut):
        bench = cls(dut)
        dut.rst.value, dut.start.value = 1, 0
        for name in ("arready", "awready", "wready", "rvalid", "bvalid"):
            getattr(dut, f"m_axi_{name}").value = 0
        Clock(dut.clk, 10, unit="ns", impl="gpi").start()
        bench.watcher = cocotb.start_soon(bench.watch())
        return bench

    async def reset(self):
        self.dut.rst.value = 1
        await ClockCycles(self.dut.clk, 4)
        self.dut.rst.value = 0
        await ClockCycles(self.dut.clk, 2)

    async def begin(self, base, run):
        dut = self.dut
        dut.base.value, dut.program_address.value, dut.count.value = base, int(run["program"]), int(run["count"])
        self.retired = 0
        dut.start.value = 1
        await RisingEdge(dut.clk)
        dut.start.value = 0
        for name in ("base", "program_address", "count"):  # now they stay
            assert getattr(dut, name).value.is_resolvable

    async def done(self):
        async def wait():
            while True:
                await ReadOnly()
                if self.dut.done.value:
                    break
                await RisingEdge(self.dut.clk)
            assert self.dut.busy.value
            await RisingEdge(self.dut.clk)
            await ReadOnly()
            assert (self.dut.done.value, self.dut.busy.value) == (0, 0)
            await RisingEdge(self.dut.clk)

        await with_timeout(cocotb.start_soon(wait()), 10_000_000, "ns")
        assert not self.watcher.done()

    async def watch(self):
        """What AXI demands of a manager: each channel's words stay until they are taken, bursts are as announced."""
        dut = self.dut
        signals = {
            channel: [getattr(dut, f"m_axi_{channel}{name}") for name in (*names, "valid", "ready")]
            for channel, names in PAYLOAD.items()
        }
        answers = [getattr(dut, f"m_axi_{name}") for name in ("bvalid", "bready")]
        waiting, beats, unanswered, in_reset = {}, deque(), 0, False
        while True:
            await RisingEdge(dut.clk)
            await ReadOnly()
            if dut.rst.value:
                waiting, unanswered = {}, 0
                beats.clear()
                if in_reset:  # its registers have their first values
                    assert not any(int(parts[-2].value) for parts in signals.values())
                in_reset = True
                continue
            in_reset = False
            for bit in range(4):
                self.retired += int(dut.retired.value) >> bit & 1
            for channel, parts in signals.items():
                if not parts[-2].value:
                    assert channel not in waiting, f"{channel} has been taken back"
                    continue
                now = tuple(int(part.value) for part in parts[:-2])
                assert waiting.pop(channel, now) == now, f"{channel} has changed"
                if not parts[-1].value:
                    waiting[channel] = now
                elif channel == "w":
                    _, strobe, last = now
                    assert beats, "data before their address"
                    beats[0] -= 1
                    assert last == (beats[0] == 0)
                    assert strobe in [(1 << n) - 1 for n in range(1, BUS + 1)]
                    if last:
                        beats.popleft()
                        unanswered += 1
                else:
                    address, length, size, burst, identifier, prot, _, lock, _ = now
                    assert (1 << size, burst, prot, lock, address % BUS) == (BUS, 1, 0, 0, 0)
                    assert length < LONGEST
                    assert address >> 12 == (address + (length + 1) * BUS - 1) >> 12
                    self.bursts[channel].append((address, length + 1))
                    if channel == "aw":
                        beats.append(length + 1)
                        assert identifier == 0
            if answers[0].value and answers[1].value:
                unanswered -= 1
                assert unanswered >= 0


def load(memory, base, run):
    memory.write(base % SIZE, run["before"].tobytes())


def check(bench, memory, base, run):
    wrong = np.flatnonzero(np.frombuffer(memory.read(base % SIZE, len(run["after"])), np.uint8) != run["after"])
    assert not len(wrong), wrong[:10]
    assert bench.dut.error.value == 0
    assert bench.retired == run["count"]


def ram_of(dut, seed):
    ram = AxiRam(AxiBus.from_prefix(dut, "m_axi"), dut.clk, dut.rst, size=SIZE)
    read, write = ram.read_if, ram.write_if
    channels = (read.ar_channel, read.r_channel, write.aw_channel, write.w_channel, write.b_channel)
    for k, channel in enumerate(channels):
        channel.set_pause_generator(pauses(seed + k))
    return ram


@cocotb.test()
async def programs(dut):
    """One after the other, wherever external memory begins, with pauses on all channels."""
    bench = await Bench.start(dut)
    ram = ram_of(dut, 1)
    await bench.reset()
    for run, base in zip(RUNS, (0, 0x9000, 0xFFF0_0000, 0x8004_0000, 0x3000) * len(RUNS), strict=False):
        load(ram, base, run)
        await bench.begin(base, run)
        await bench.done()
        check(bench, ram, base, run)
    assert max(beats for _, beats in bench.bursts["ar"]) == max(beats for _, beats in bench.bursts["aw"]) == LONGEST
    assert len({beats for _, beats in bench.bursts["aw"]}) > 4


@cocotb.test()
async def a_reset_in_the_middle(dut):
    """Forgets the program; the next one is right."""
    bench = await Bench.start(dut)
    ram = ram_of(dut, 2)
    rng = random.Random(3)
    for _ in range(4):
        await bench.reset()
        assert not dut.busy.value
        load(ram, 0, RUNS[0])
        await bench.begin(0, RUNS[0])
        await ClockCycles(dut.clk, rng.randrange(1500))
        assert dut.busy.value
    await bench.reset()
    load(ram, 0, RUNS[0])
    await bench.begin(0, RUNS[0])
    await bench.done()
    check(bench, ram, 0, RUNS[0])


@cocotb.test()
async def starting(dut):
    """Has no effect while a program runs."""
    bench = await Bench.start(dut)
    ram = ram_of(dut, 4)
    await bench.reset()
    load(ram, 0, DIGITS)
    await bench.begin(0, DIGITS)
    for wait in (1, 2, 10, 500):
        await ClockCycles(dut.clk, wait)
        assert dut.busy.value
        dut.start.value = 1
        await RisingEdge(dut.clk)
        dut.start.value = 0
    await bench.done()
    check(bench, ram, 0, DIGITS)
    await ClockCycles(dut.clk, 3)
    assert not dut.busy.value
    assert not dut.done.value


@cocotb.test()
async def errors(dut):
    """Of memory that answers with one: each told until the next start."""
    bench = await Bench.start(dut)
    ram = ram_of(dut, 5)
    await bench.reset()
    run, bad = RUNS[0], set()

    def failing(kind, real):
        async def access(address, what):
            if kind in bad and address < int(run["program"]):
                raise ValueError("no memory")
            return await real(address, what)

        return access

    ram.read_if._read, ram.write_if._write = failing(1, ram.read_if._read), failing(2, ram.write_if._write)
    for wrong in (1, 0, 2, 3, 0):
        load(ram, 0, run)
        bad.clear()
        bad.update({1, 2} if wrong == 3 else {wrong})
        await bench.begin(0, run)
        await bench.done()
        assert dut.error.value == wrong
        assert bench.retired == run["count"]
        if not wrong:
            check(bench, ram, 0, run)


class Mixed:
    """Answers reads of the two identifiers in any order, a beat of the one between those of the other."""

    def __init__(self, dut, memory, seed):
        self.dut, self.memory, self.rng = dut, memory, random.Random(seed)
        self.switches = 0
        cocotb.start_soon(self.reads())
        cocotb.start_soon(self.writes())

    async def reads(self):
        dut, rng = self.dut, self.rng
        queues, offered, last = {0: deque(), 1: deque()}, None, 0
        while True:
            dut.m_axi_arready.value = ready = rng.random() < 0.7
            if offered is None and rng.random() < 0.8 and (able := [i for i, q in queues.items() if q]):
                offered = rng.choice(able)
                self.switches += offered != last and len(able) > 1
                last = offered
                address, end = queues[offered][0]
                dut.m_axi_rid.value, dut.m_axi_rresp.value, dut.m_axi_rlast.value = offered, 0, end
                dut.m_axi_rdata.value = int.from_bytes(self.memory.read(address % SIZE, BUS), "little")
            dut.m_axi_rvalid.value = offered is not None
            await ReadOnly()
            if ready and dut.m_axi_arvalid.value:
                address, beats = int(dut.m_axi_araddr.value), int(dut.m_axi_arlen.value) + 1
                queue = queues[int(dut.m_axi_arid.value)]
                queue.extend((address + k * BUS, int(k == beats - 1)) for k in range(beats))
            taken = offered is not None and dut.m_axi_rready.value
            await RisingEdge(dut.clk)
            if taken:
                queues[offered].popleft()
                offered = None

    async def writes(self):
        """Data are taken before, with or after what comes after them; answers come late."""
        dut, rng = self.dut, self.rng
        bursts, answers = deque(), deque()
        while True:
            aw, w = rng.random() < 0.5, bool(bursts) and rng.random() < 0.7
            dut.m_axi_awready.value, dut.m_axi_wready.value = aw, w
            dut.m_axi_bvalid.value, dut.m_axi_bresp.value, dut.m_axi_bid.value = bool(answers and answers[0] <= 0), 0, 0
            await ReadOnly()
            if answers and answers[0] <= 0 and dut.m_axi_bready.value:
                answers.popleft()
            answers = deque(left - 1 for left in answers)
            if w and dut.m_axi_wvalid.value:
                data, strobe = (int(getattr(dut, f"m_axi_w{name}").value) for name in ("data", "strb"))
                count = strobe.bit_length()
                self.memory.write(bursts[0] % SIZE, data.to_bytes(BUS, "little")[:count])
                bursts[0] += BUS
                if dut.m_axi_wlast.value:
                    bursts.popleft()
                    answers.append(rng.randrange(60))
            if aw and dut.m_axi_awvalid.value:
                bursts.append(int(dut.m_axi_awaddr.value))
            await RisingEdge(dut.clk)


@cocotb.test()
async def any_order(dut):
    """Memory that answers the reads of the program and those of its loads in any order."""
    bench = await Bench.start(dut)
    memory = Memory(SIZE)
    await bench.reset()
    mixed = Mixed(dut, memory, 6)
    for run in RUNS[:3]:
        load(memory, 0x4000, run)
        await bench.begin(0x4000, run)
        await bench.done()
        check(bench, memory, 0x4000, run)
    assert mixed.switches > 20
