"""The memory of sums: one bank of even entries, one of odd ones, for the array and the vector unit."""

from typing import Any

from amaranth import Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..engine import SUM_BITS, Engine
from .words import UNCHECKED

__all__ = ["BANKS", "LATENCY", "SumsMemory", "array_side", "vector_side"]

BANKS = 2
LATENCY = 3  #: cycles from an entry's number to the entry: its bank's address, the bank, its register


def array_side(engine: Engine) -> dict[str, wiring.Member]:
    """Members of the unit that makes sums."""
    word, entry = _word(engine), range(engine.sums)
    return {
        "soon": Out(BANKS), "read": Out(BANKS), "read_entry": Out(entry), "read_data": In(word),
        "write": Out(BANKS), "write_entry": Out(entry), "write_data": Out(word),
    }  # fmt: skip


def vector_side(engine: Engine) -> dict[str, wiring.Member]:
    """Members of the unit that uses them."""
    return {"free": In(BANKS), "valid": Out(1), "entry": Out(range(engine.sums)), "data": In(_word(engine))}


def _word(engine: Engine) -> data.ArrayLayout:
    return data.ArrayLayout(signed(SUM_BITS), engine.columns)


class SumsMemory(wiring.Component):
    """Entries of a sum for each column. Each bank is read at one place in a cycle: the array goes first.

    It reads one entry after the other, so the vector unit waits for a cycle at most.

    Members
    -------
    soon : banks that the array reads in the next cycle
    read, read_entry, read_data : of the array: from which bank, if any; data ``LATENCY`` cycles later
    write, write_entry, write_data : of the array: to which bank
    free : banks that the vector unit may read in the next cycle
    valid, entry, data : its reads; data ``LATENCY`` cycles later
    """

    def __init__(self, engine: Engine):
        self.engine = engine
        users = array_side(engine) | vector_side(engine)
        super().__init__({name: member.flip() for name, member in users.items()})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        word = self.data.shape()
        found = []
        array_bank, vector_bank = self.read_entry[0], self.entry[0]
        m.d.comb += self.free.eq(~self.soon)
        for bank in range(BANKS):
            address = Signal(len(self.entry) - 1, name=f"address_{bank}", reset_less=True)
            m.d.sync += address.eq(Mux(self.read[bank], self.read_entry, self.entry)[1:])
            register = Signal(word, name=f"found_{bank}", reset_less=True)
            for column in range(self.engine.columns):  # a memory for each, near to its multipliers
                memory = Memory(shape=signed(SUM_BITS), depth=self.engine.sums // 2, init=[], attrs=UNCHECKED)
                m.submodules[f"bank_{bank}_{column}"] = memory
                read, write = memory.read_port(), memory.write_port()
                m.d.comb += [
                    read.addr.eq(address),
                    write.addr.eq(self.write_entry[1:]),
                    write.data.eq(self.write_data[column]),
                    write.en.eq(self.write[bank]),
                ]
                m.d.sync += register[column].eq(read.data)
            found.append(register)
        for name, bank, out in (("array", array_bank, self.read_data), ("vector", vector_bank, self.data)):
            late = [Signal(name=f"{name}_bank_{k}", reset_less=True) for k in range(LATENCY)]
            m.d.sync += [b.eq(a) for a, b in zip([bank, *late], late, strict=False)]
            m.d.comb += out.eq(Mux(late[-1], found[1], found[0]))
        return m
