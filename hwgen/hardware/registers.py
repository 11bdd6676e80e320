"""Registers of an accelerator in a system on chip: what the lists of all tops share, and their place at an AXI4-Lite bus."""

from collections.abc import Iterable, Mapping
from enum import IntEnum
from typing import Any, Self, TypeVar

from amaranth import Cat, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .axi_lite import AxiLite, axi_lite_members
from .link import RESET_CYCLES

__all__ = ["ID_HIGH", "ID_LOW", "VERSION", "HeldReset", "RegisterMap", "add_registers", "id_words", "merged", "table"]

ID_LOW = (0x00, "first four bytes of the SHA-256 of the accelerator's Verilog, the first lowest")
ID_HIGH = (0x04, "the next four")
VERSION = (0x08, "of this list")

R = TypeVar("R", bound="RegisterMap")


class RegisterMap(IntEnum):
    """Byte addresses of a top's registers, 32 bits each; its subclasses are the lists.

    A member is given as its address, what it means, and whether it can be written.
    """

    meaning: str
    writable: bool

    def __new__(cls, address: int, meaning: str, writable: bool = False) -> Self:
        member = int.__new__(cls, address)
        member._value_ = address
        member.meaning, member.writable = meaning, writable
        return member

    def written(self, bus: AxiLite) -> Value:
        """1 in the cycle in which a write of this register takes effect."""
        return bus.write & (bus.write_address == self >> 2)


def id_words(design_id: bytes) -> tuple[int, int]:
    """What ``ID_LOW`` and ``ID_HIGH`` say; ``ValueError`` unless ``design_id`` has eight bytes."""
    if len(design_id) != 8:
        raise ValueError(f"design_id must have 8 bytes, not {len(design_id)}")
    return int.from_bytes(design_id[:4], "little"), int.from_bytes(design_id[4:], "little")


def add_registers(m: Module, top: Any, values: Mapping[R, Value | int]) -> AxiLite:
    """Add an :class:`AxiLite` at the ports ``s_axi_*`` of ``top``, at which ``values`` are read, by members of a list.

    A read or write of another address, and a write of a register that is only read, are answered with SLVERR. What a write
    does is for the caller to say.
    """
    m.submodules.bus = bus = AxiLite()
    for port, member in axi_lite_members().items():
        inner, outer = getattr(bus, port), getattr(top, port)
        m.d.comb += inner.eq(outer) if member.flow is In else outer.eq(inner)
    with m.Switch(bus.read_address):
        for register, value in values.items():
            with m.Case(register >> 2):
                m.d.comb += bus.read_data.eq(value)
        with m.Default():
            m.d.comb += bus.read_error.eq(1)
    m.d.comb += bus.write_error.eq(~Cat(bus.write_address == register >> 2 for register in values if register.writable).any())
    return bus


def merged(old: Value, bus: AxiLite) -> Value:
    """32 bits: ``old``, with the bytes that a write brings in their places."""
    return Cat(Mux(bus.write_strobe[k], bus.write_data.word_select(k, 8), old[8 * k : 8 * k + 8]) for k in range(4))


class HeldReset(wiring.Component):
    """A reset of ``RESET_CYCLES`` at power-up, after a reset of the domain, and after each ``start``.

    Members
    -------
    start : 1 to begin one with the next cycle
    reset : a register
    """

    def __init__(self) -> None:
        super().__init__({"start": In(1), "reset": Out(1, init=1)})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        hold = Signal(range(RESET_CYCLES + 1), init=RESET_CYCLES)
        m.d.sync += self.reset.eq(hold > 1)
        with m.If(hold != 0):
            m.d.sync += hold.eq(hold - 1)
        with m.If(self.start):
            m.d.sync += [hold.eq(RESET_CYCLES), self.reset.eq(1)]
        return m


def table(registers: Iterable[RegisterMap]) -> str:
    """The list in Markdown."""
    lines = ["| address | register | access | meaning |", "|---|---|---|---|"]
    for register in registers:
        access = "read, write" if register.writable else "read"
        lines.append(f"| 0x{register:02X} | `{register.name}` | {access} | {register.meaning} |")
    return "\n".join(lines) + "\n"
