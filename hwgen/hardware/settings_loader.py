"""The memory of a design's settings, and what brings them to their places."""

from typing import Any

from amaranth import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import Out

from ..templates.settings import loader_depth

__all__ = ["SettingsLoader"]


class SettingsLoader(wiring.Component):
    """Offers ``bits`` one after the other, once after each reset.

    Members
    -------
    bit, shift : the bit, and whether it is there
    busy : until all of them have been there
    """

    def __init__(self, bits: list[int]):
        self.bits = bits
        super().__init__({"bit": Out(1), "shift": Out(1), "busy": Out(1, init=1)})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.rom = rom = Memory(
            shape=1, depth=loader_depth(len(self.bits)), init=self.bits, attrs={"rom_style": "block"}
        )
        port = rom.read_port()
        reading = Signal(init=1)
        last = port.addr == len(self.bits) - 1
        m.d.comb += [self.bit.eq(port.data), port.en.eq(1)]
        m.d.sync += [self.shift.eq(reading), self.busy.eq(reading | self.shift)]
        with m.If(reading):
            m.d.sync += [port.addr.eq(port.addr + 1), reading.eq(~last)]
        return m
