"""What cocotb runs on the overlay's SoC top (tests/overlay/test_soc.py), as a driver that knows what the build folder says.

cocotbext-axi has the registers' bus and the memory, with pauses on all channels of both.
"""

import json
import logging
import os
import random
from pathlib import Path

import cocotb
import numpy as np
from cocotb.triggers import ClockCycles, ReadOnly, RisingEdge, with_timeout
from cocotb.utils import get_sim_time
from cocotbext.axi import AxiBus, AxiRam, AxiResp

from hwgen.hardware.axi_lite import ADDRESS_BITS
from hwgen.overlay.compiled import Region
from hwgen.overlay.soc_top import VERSION, Register
from tests.hardware.register_bench import RegisterBench, pauses

logging.getLogger("cocotb.tb").setLevel(logging.CRITICAL)  # else a line for each transfer, or each error
START, RESET = 1, 2
BUSY, DONE, REFUSED, ERRORS = 1, 2, 4, 0x700
SIZE = 1 << 20  #: of memory; addresses wrap around
FOLDER = Path(os.environ["HWGEN_FOLDER"])
MANIFEST = json.loads((FOLDER / "design.json").read_text())
IMAGE = (FOLDER / "image.bin").read_bytes()
VECTORS = np.load(os.environ["HWGEN_VECTORS"])  #: frames, and ONNX Runtime's outputs
INPUTS, OUTPUTS = VECTORS["inputs"], VECTORS["outputs"]
CYCLES = MANIFEST["figures"]["latency_cycles"]  #: of a frame, predicted
PLACES = (0x3000, 0x9_1000, 0xFFF0_0000, 0x8004_0000)  #: of images


def region(side):
    about = {key: value for key, value in MANIFEST["regions"][MANIFEST[side]["tensor"]].items() if key != "type"}
    return Region(**about | {"shape": tuple(about["shape"])})


class Bench(RegisterBench):
    def __init__(self, dut):
        super().__init__(dut)
        self.ram = AxiRam(AxiBus.from_prefix(dut, "m_axi"), dut.aclk, size=SIZE, **self.reset)
        cocotb.start_soon(self.watch())
        self.under_way = {"reads": 0, "writes": 0}

    def pause_memory(self, seed):
        read, write = self.ram.read_if, self.ram.write_if
        channels = (read.ar_channel, read.r_channel, write.aw_channel, write.w_channel, write.b_channel)
        for k, channel in enumerate(channels):
            channel.set_pause_generator(pauses(seed + k))

    async def watch(self):
        """What AXI demands of a manager's addresses and data: they stay until taken, in a reset by register too."""
        dut, waiting, writing = self.dut, {}, 0
        parts = {
            channel: [getattr(dut, f"m_axi_{channel}{name}") for name in ("valid", "ready", *names)]
            for channel, names in {"ar": ("addr", "len", "id"), "aw": ("addr", "len"), "w": ("data", "strb", "last")}.items()
        }
        while True:
            await RisingEdge(dut.aclk)
            await ReadOnly()
            if not dut.aresetn.value:
                waiting, writing = {}, 0
                self.under_way.update(reads=0, writes=0)
                continue
            for channel, (valid, ready, *payload) in parts.items():
                if not valid.value:
                    assert channel not in waiting, f"{channel} has been taken back"
                    continue
                now = [int(part.value) for part in payload]
                assert waiting.pop(channel, now) == now, f"{channel} has changed"
                if not ready.value:
                    waiting[channel] = now
                elif channel == "w":
                    writing -= 1
                    assert writing >= 0, "data before their address"
                elif channel == "aw":
                    writing += now[1] + 1
                    self.under_way["writes"] += 1
                else:
                    self.under_way["reads"] += 1
            self.under_way["reads"] -= int(dut.m_axi_rvalid.value & dut.m_axi_rready.value & dut.m_axi_rlast.value)
            self.under_way["writes"] -= int(dut.m_axi_bvalid.value & dut.m_axi_bready.value)
            assert min(self.under_way.values()) >= 0

    async def load(self, base):
        """The image into memory, its places into the registers."""
        self.ram.write(base % SIZE, IMAGE)
        await self.point(base)

    async def point(self, base):
        image = MANIFEST["image"]
        for register, value in (("BASE", base), ("PROGRAM", image["program"]), ("INSTRUCTIONS", image["instructions"])):
            assert await self.write(Register[register], value) == AxiResp.OKAY

    def put(self, base, frame):
        memory = np.frombuffer(self.ram.read(base % SIZE, len(IMAGE)), np.uint8).copy()
        region("input").write(memory, frame)
        self.ram.write(base % SIZE, memory.tobytes())

    def output(self, base):
        return region("output").read(np.frombuffer(self.ram.read(base % SIZE, len(IMAGE)), np.uint8))

    async def begin(self):
        assert await self.write(Register.CONTROL, START) == AxiResp.OKAY

    async def ended(self):
        async def poll():
            while await self.read(Register.STATUS) & BUSY:
                await ClockCycles(self.dut.aclk, 20)

        await with_timeout(cocotb.start_soon(poll()), 10_000_000, "ns")
        return await self.read(Register.STATUS)

    async def frame(self, base, number):
        self.put(base, INPUTS[number])
        await self.begin()
        assert await self.ended() == DONE
        assert (self.output(base) == OUTPUTS[number]).all()


@cocotb.test()
async def registers(dut):
    """First values, what is kept of a write, byte strobes, wrong addresses; with pauses on all five channels."""
    bench = await Bench.start(dut)
    bench.pause_bus(1)
    kept = {
        Register.BASE: 0xFFFF_F000,
        Register.PROGRAM: 0xFFFF_FFFF,
        Register.INSTRUCTIONS: 0xFF_FFFF,
        Register.INTERRUPT_ENABLE: 1,
    }
    fixed = set(Register) - set(kept) - {Register.CONTROL, Register.INTERRUPT}
    low, high = await bench.read(Register.ID_LOW), await bench.read(Register.ID_HIGH)
    assert (low | high << 32).to_bytes(8, "little").hex() == MANIFEST["design_id"]
    for register in set(Register) - {Register.ID_LOW, Register.ID_HIGH, Register.VERSION}:
        assert await bench.read(register) == 0
    rng = random.Random(2)
    values = dict.fromkeys(kept, 0)
    for _ in range(40):
        register = rng.choice(list(kept))
        first = rng.randrange(4)
        data = rng.randbytes(rng.randrange(1, 5 - first))
        assert (await bench.registers.write(register + first, data)).resp == AxiResp.OKAY
        whole = bytearray(values[register].to_bytes(4, "little"))
        whole[first : first + len(data)] = data
        values[register] = int.from_bytes(whole, "little") & kept[register]
        assert await bench.read(register) == values[register]
    for address in (*range(4 * len(Register), 0x80, 4), 0x200, (1 << ADDRESS_BITS) - 4):
        assert (await bench.registers.read(address, 4)).resp == AxiResp.SLVERR
        assert await bench.write(address, 3) == AxiResp.SLVERR
    for register in fixed:
        assert await bench.write(register, 0xFFFFFFFF) == AxiResp.SLVERR
    assert await bench.read(Register.VERSION) == VERSION
    assert (await bench.registers.write(Register.CONTROL + 1, b"\xff\xff\xff")).resp == AxiResp.OKAY
    assert (await bench.registers.write(Register.INTERRUPT + 1, b"\xff\xff\xff")).resp == AxiResp.OKAY
    assert {register: await bench.read(register) for register in kept} == values
    assert await bench.read(Register.STATUS) == 0
    assert await bench.read(Register.CONTROL) == 0


@cocotb.test()
async def frames(dut):
    """One after the other, wherever the image lies, with pauses on all channels of both buses; it is loaded once."""
    bench = await Bench.start(dut)
    bench.pause_memory(10)
    bench.pause_bus(20)
    for place in PLACES[:2]:
        await bench.load(place)
        for number in range(2):
            await bench.frame(place, number)
    for number, place in enumerate(PLACES[2:]):
        await bench.load(place)
        await bench.frame(place, number)
    assert await bench.read(Register.FRAMES) == 6


@cocotb.test()
async def two_images(dut):
    """BASE for the next frame while one is under way."""
    bench = await Bench.start(dut)
    bench.pause_memory(30)
    for place, frame in zip(PLACES[:2], INPUTS, strict=False):
        await bench.load(place)
        bench.put(place, frame)
    for place, other in ((PLACES[1], PLACES[0]), (PLACES[0], PLACES[1])):
        await bench.begin()
        await bench.point(other)
        assert await bench.read(Register.BASE) == other
        assert await bench.ended() == DONE
        assert (bench.output(place) == OUTPUTS[PLACES.index(place)]).all()


@cocotb.test()
async def cycles(dut):
    """LATENCY is what is seen between the engine's start and the interrupt, and close to the prediction."""
    bench = await Bench.start(dut)
    await bench.load(PLACES[0])
    bench.put(PLACES[0], INPUTS[0])
    await bench.write(Register.INTERRUPT_ENABLE, 1)

    async def seen():
        """Cycles from the write's effect to the interrupt, as the pins show both: the answer comes with the engine's start."""
        while not dut.s_axi_bvalid.value:
            await RisingEdge(dut.aclk)
            await ReadOnly()
        began = get_sim_time("ns")
        while not dut.interrupt.value:
            await RisingEdge(dut.aclk)
            await ReadOnly()
        return (get_sim_time("ns") - began) // 10

    await ClockCycles(dut.aclk, 5)
    watcher = cocotb.start_soon(seen())
    await bench.begin()
    assert await bench.ended() == DONE
    latency = await bench.read(Register.LATENCY)
    assert latency == await watcher - 1  # pending is a register behind done
    assert abs(latency - CYCLES) < CYCLES / 10  # the memory's model does not answer when the prediction supposes
    bench.pause_memory(40)
    await bench.frame(PLACES[0], 1)
    assert await bench.read(Register.LATENCY) > latency + 50


@cocotb.test()
async def interrupts(dut):
    """On the wire where enabled, from the end of a frame until cleared; polling needs none."""
    bench = await Bench.start(dut)
    await bench.load(PLACES[1])
    await bench.frame(PLACES[1], 0)
    assert await bench.read(Register.INTERRUPT) == 1
    assert not dut.interrupt.value
    await bench.write(Register.INTERRUPT_ENABLE, 1)
    assert dut.interrupt.value
    await bench.write(Register.INTERRUPT, 0)
    assert dut.interrupt.value
    await bench.write(Register.INTERRUPT, 1)
    assert not dut.interrupt.value
    assert await bench.read(Register.INTERRUPT) == 0
    bench.put(PLACES[1], INPUTS[1])
    await bench.begin()
    await with_timeout(RisingEdge(dut.interrupt), 10_000_000, "ns")
    assert (bench.output(PLACES[1]) == OUTPUTS[1]).all()
    assert await bench.read(Register.STATUS) == DONE
    assert await bench.read(Register.INTERRUPT) == 1


@cocotb.test()
async def refused(dut):
    """A start while a frame is under way, or without a program, does nothing but tell."""
    bench = await Bench.start(dut)
    await bench.begin()
    assert await bench.read(Register.STATUS) == REFUSED
    await bench.load(PLACES[0])
    bench.put(PLACES[0], INPUTS[0])
    await bench.begin()
    assert await bench.read(Register.STATUS) == BUSY
    for wait in (1, CYCLES // 8, CYCLES // 2):
        await ClockCycles(dut.aclk, wait)
        await bench.begin()
        assert await bench.read(Register.STATUS) == BUSY | REFUSED
    assert await bench.ended() == DONE | REFUSED
    assert (bench.output(PLACES[0]) == OUTPUTS[0]).all()
    await ClockCycles(dut.aclk, 50)
    assert await bench.read(Register.FRAMES) == 1
    await bench.frame(PLACES[0], 1)
    assert await bench.read(Register.FRAMES) == 2


@cocotb.test()
async def errors(dut):
    """Memory that answers with one, words that are no instructions: told with the frame, gone with the next one."""
    bench = await Bench.start(dut)
    await bench.load(PLACES[0])
    bad = set()

    def failing(kind, real):
        async def access(address, what):
            if kind in bad and address % SIZE < PLACES[0] + MANIFEST["image"]["program"]:
                raise ValueError("no memory")
            return await real(address, what)

        return access

    ram = bench.ram
    ram.read_if._read, ram.write_if._write = failing(1, ram.read_if._read), failing(2, ram.write_if._write)
    for wrong in (1, 2, 3):
        bad.update({1, 2} & {wrong & 1, wrong & 2})
        await bench.begin()
        assert await bench.ended() == DONE | wrong << 8
        bad.clear()
        await bench.frame(PLACES[0], 0)
    # A word that is none before the program's first instruction, whose place is free.
    image = MANIFEST["image"]
    first = PLACES[0] + image["program"]
    ram.write(first, b"\xff" * 32 + IMAGE[image["program"] :])
    await bench.write(Register.INSTRUCTIONS, image["instructions"] + 1)
    await bench.begin()
    assert await bench.ended() == DONE | 4 << 8
    assert (bench.output(PLACES[0]) == OUTPUTS[0]).all()


@cocotb.test()
async def reset_by_wire(dut):
    """In the middle of a frame: the next one is right, all registers have their first values."""
    bench = await Bench.start(dut)
    bench.pause_memory(50)
    rng = random.Random(6)
    for number in range(4):
        await bench.load(PLACES[0])
        bench.put(PLACES[0], INPUTS[0])
        await bench.begin()
        await ClockCycles(dut.aclk, rng.randrange(CYCLES * 3 // 4))
        assert await bench.read(Register.STATUS) == BUSY
        dut.aresetn.value = 0
        await ClockCycles(dut.aclk, 2)
        dut.aresetn.value = 1
        await ClockCycles(dut.aclk, 30)
        for register in ("CONTROL", "STATUS", "BASE", "INSTRUCTIONS", "FRAMES"):
            assert await bench.read(Register[register]) == 0
        await bench.load(PLACES[1])
        await bench.frame(PLACES[1], number % len(INPUTS))


@cocotb.test()
async def reset_by_register(dut):
    """In the middle of a frame, memory's bus going on: no burst is broken off, the next frame is right."""
    bench = await Bench.start(dut)
    bench.pause_memory(60)
    await bench.load(PLACES[0])
    await bench.write(Register.INTERRUPT_ENABLE, 1)
    rng, broken = random.Random(7), 0
    for number in range(12):
        bench.put(PLACES[0], INPUTS[0])
        await bench.begin()
        await ClockCycles(dut.aclk, rng.randrange(1, CYCLES * 3 // 4))
        assert await bench.read(Register.STATUS) == BUSY
        broken += any(bench.under_way.values())
        assert await bench.write(Register.CONTROL, RESET) == AxiResp.OKAY
        # A start is refused as long as that lasts, and a second reset is none.
        await bench.write(Register.CONTROL, START | RESET)
        while await bench.read(Register.CONTROL):
            pass
        assert bench.under_way == {"reads": 0, "writes": 0}
        await ClockCycles(dut.aclk, 200)
        assert bench.under_way == {"reads": 0, "writes": 0}
        assert not dut.interrupt.value
        for register in ("STATUS", "FRAMES", "LATENCY", "INTERRUPT"):
            assert await bench.read(Register[register]) == 0
        if number % 3 == 0:
            await bench.frame(PLACES[0], number // 3 % len(INPUTS))
            assert dut.interrupt.value
            assert await bench.read(Register.FRAMES) == 1
    assert broken > 3


@cocotb.test()
async def reset_of_a_stuck_engine(dut):
    """A program that never ends."""
    bench = await Bench.start(dut)
    bench.pause_memory(80)
    await bench.load(PLACES[0])
    await bench.write(Register.INSTRUCTIONS, MANIFEST["image"]["instructions"] - 1)  # without the End
    await bench.begin()
    await ClockCycles(dut.aclk, 5 * CYCLES)
    assert await bench.read(Register.STATUS) == BUSY
    await bench.write(Register.CONTROL, RESET)
    await ClockCycles(dut.aclk, 30)
    assert await bench.read(Register.CONTROL) == 0
    await bench.point(PLACES[0])
    await bench.frame(PLACES[0], 0)
