"""The scratchpad: banks a byte wide, read and written from any address on."""

from itertools import pairwise
from typing import Any

from amaranth import Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..engine import Engine
from .words import UNCHECKED, Access, chunk

__all__ = ["LATENCY", "PORT_LATENCY", "VECTOR_LATENCY", "Scratchpad"]

LATENCY = 6  #: cycles from the array's address to the bytes: rows, banks' rows, memory, its register, two of the rotator
PORT_LATENCY = LATENCY + 1  #: of the other units' accesses, which a register holds first
VECTOR_LATENCY = PORT_LATENCY + 1  #: of the vector unit's, held by one more


class Scratchpad(wiring.Component):
    """Byte ``address + i`` is in bank ``(address + i) % banks``: an access takes one row of each bank, or the next one of those
    that come first, and turns them so that the first byte is the first.

    Members
    -------
    read_address, read_data : of the array; the bytes ``LATENCY`` cycles later
    valid, access : of the other units, one each cycle, in order
    result : what was read there, ``PORT_LATENCY`` cycles later
    """

    def __init__(self, engine: Engine):
        self.engine = engine
        super().__init__(
            {
                "read_address": In(engine.address_bits),
                "read_data": Out(chunk(1, engine.banks)),
                "valid": In(1),
                "access": In(Access(engine)),
                "result": Out(chunk(1, engine.banks)),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        banks, depth = self.engine.banks, self.engine.scratchpad // self.engine.banks
        bits = banks.bit_length() - 1
        array_rows, array_offset = self._rows(m, "array", self.read_address)
        writes, access = Signal(banks), Signal(self.access.shape(), reset_less=True)
        m.d.sync += [writes.eq(Mux(self.valid & self.access.write, self.access.mask, 0)), access.eq(self.access)]
        rows, offset = self._rows(m, "port", access.address)

        # What is written turns by its offset: byte i goes to bank (i + offset) % banks.
        turned = Signal(data.StructLayout({"data": chunk(1, banks), "write": banks}), name="turned", reset_less=True)
        ready = Signal.like(turned, name="ready")
        near = access.address[: min(2, bits)]
        m.d.sync += [
            *_turned(turned.data, [access.data[i] for i in range(banks)], near, 1, -1),
            *_turned(turned.write, list(writes), near, 1, -1),
            *_turned(ready.data, [turned.data[i] for i in range(banks)], offset[0][2:], 4, -1),
            *_turned(ready.write, [turned.write[i] for i in range(banks)], offset[0][2:], 4, -1),
        ]

        found = [Signal(8, name=f"array_{b}", reset_less=True) for b in range(banks)]
        other = [Signal(8, name=f"port_{b}", reset_less=True) for b in range(banks)]
        for b in range(banks):
            m.submodules[f"bank_{b}"] = bank = Memory(shape=8, depth=depth, init=[], attrs=UNCHECKED)
            read, again, write = bank.read_port(), bank.read_port(), bank.write_port()
            m.d.comb += [
                read.addr.eq(array_rows[b]),
                again.addr.eq(rows[b]),
                write.addr.eq(rows[b]),
                write.data.eq(ready.data[b]),
                write.en.eq(ready.write[b]),
            ]
            m.d.sync += [found[b].eq(read.data), other[b].eq(again.data)]
        self._turn_back(m, "array", found, array_offset, self.read_data)
        self._turn_back(m, "port", other, offset, self.result)
        return m

    def _rows(self, m: Module, name: str, address: Any) -> tuple[list[Signal], list[Signal]]:
        """Each bank's row, two cycles after the address; the offset 1, 2, ... cycles after it."""
        banks, depth = self.engine.banks, self.engine.scratchpad // self.engine.banks
        bits = banks.bit_length() - 1
        row, next_row = (Signal(range(depth), name=f"{name}_{n}", reset_less=True) for n in ("row", "next_row"))
        m.d.sync += [row.eq(address[bits:]), next_row.eq(address[bits:] + 1)]
        offset = [Signal(bits, name=f"{name}_offset_{k}", reset_less=True) for k in range(LATENCY - 1)]
        m.d.sync += [offset[0].eq(address[:bits]), *(b.eq(a) for a, b in pairwise(offset))]
        rows = [Signal(range(depth), name=f"{name}_row_{b}", reset_less=True) for b in range(banks)]
        m.d.sync += [r.eq(Mux(b < offset[0], next_row, row)) for b, r in enumerate(rows[:-1])]
        m.d.sync += rows[-1].eq(row)
        return rows, offset

    def _turn_back(self, m: Module, name: str, found: list[Signal], offset: list[Signal], out: Any) -> None:
        """Byte i of ``out`` is bank (i + offset) % banks."""
        half = [Signal(8, name=f"{name}_half_{b}", reset_less=True) for b in range(len(found))]
        result = Signal.like(out, name=f"{name}_result", reset_less=True)
        m.d.sync += [*_turned(half, found, offset[3][:2], 1, 1), *_turned(result, half, offset[4][2:], 4, 1)]
        m.d.comb += out.eq(result)


def _turned(target: Any, source: list[Any], amount: Any, unit: int, sign: int) -> list[Any]:
    """``target[i] = source[(i + sign * unit * amount) % n]``."""
    count = len(source)
    statements = []
    for i in range(count):
        value = source[i]
        for k in range(1, 1 << len(amount)):
            value = Mux(amount == k, source[(i + sign * unit * k) % count], value)
        statements.append(target[i].eq(value))
    return statements
