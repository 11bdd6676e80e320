"""Cocotb's side of the registers of a top for a system on chip, at cocotbext-axi's model of a master."""

import random

from cocotb.clock import Clock
from cocotb.triggers import ClockCycles
from cocotbext.axi import AxiLiteBus, AxiLiteMaster, AxiResp


def pauses(seed):
    rng = random.Random(seed)
    while True:
        share = rng.choice([0, 0.1, 0.5, 0.9])
        yield from (rng.random() < share for _ in range(rng.randrange(60)))


class RegisterBench:
    """Clock, reset and registers; ``reset`` is what other models at the top want to know of its reset."""

    def __init__(self, dut):
        self.dut = dut
        self.reset = {"reset": dut.aresetn, "reset_active_level": False}
        self.registers = AxiLiteMaster(AxiLiteBus.from_prefix(dut, "s_axi"), dut.aclk, **self.reset)

    @classmethod
    async def start(cls, dut):
        dut.aresetn.value = 0
        bench = cls(dut)
        Clock(dut.aclk, 10, unit="ns", impl="gpi").start()
        await ClockCycles(dut.aclk, 4)
        dut.aresetn.value = 1
        await ClockCycles(dut.aclk, 30)
        return bench

    def pause_bus(self, seed):
        write, read = self.registers.write_if, self.registers.read_if
        channels = (write.aw_channel, write.w_channel, write.b_channel, read.ar_channel, read.r_channel)
        for k, channel in enumerate(channels):
            channel.set_pause_generator(pauses(seed + k))

    async def read(self, register):
        answer = await self.registers.read(register, 4)
        assert answer.resp == AxiResp.OKAY
        return int.from_bytes(answer.data, "little")

    async def write(self, register, value):
        answer = await self.registers.write(register, value.to_bytes(4, "little"))
        return answer.resp
