"""Nested loops over addresses."""

from collections.abc import Sequence
from typing import Any

from amaranth import Cat, Module, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["Loops"]


class Loops(wiring.Component):
    """Addresses that nested loops go through: a base, and for each round of each loop a step.

    Loop 0 is the innermost. ``counts`` and ``steps`` must not change while it runs. No multiplier: for each loop the address at
    the beginning of its round is kept.

    Parameters
    ----------
    address_bits
        Of an address; they wrap around.
    count_bits
        Of each loop's count, which is at least 1.
    ways
        Addresses that go along.

    Members
    -------
    start : begin anew, from the next cycle on
    next : go on to the next round
    address : of this round, for each way
    last : for each loop, whether it is in its last round
    fresh : for each loop, whether it and all within have just begun
    """

    def __init__(self, address_bits: int, count_bits: Sequence[int], ways: int = 1):
        self.address_bits, self.count_bits, self.ways = address_bits, tuple(count_bits), ways
        loops = len(self.count_bits)
        super().__init__(
            {
                "start": In(1),
                "next": In(1),
                "base": In(address_bits).array(ways),
                "count": In(data.StructLayout({str(k): bits for k, bits in enumerate(self.count_bits)})),
                "step": In(signed(address_bits)).array(ways, loops),
                "address": Out(address_bits).array(ways),
                "last": Out(loops),
                "fresh": Out(loops),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        loops = len(self.count_bits)
        left = [Signal(bits, name=f"left_{k}") for k, bits in enumerate(self.count_bits)]
        begin = [[Signal(self.address_bits, name=f"begin_{w}_{k}") for k in range(loops)] for w in range(self.ways)]
        counts = [self.count[str(k)] for k in range(loops)]
        m.d.comb += [self.address[w].eq(begin[w][0]) for w in range(self.ways)]
        ends = [Signal(name=f"last_{k}") for k in range(loops)]
        m.d.comb += self.last.eq(Cat(ends))
        with m.If(self.start):
            m.d.sync += self.fresh.eq(-1)
            for k in range(loops):
                m.d.sync += [left[k].eq(counts[k] - 1), ends[k].eq(counts[k] == 1)]
                m.d.sync += [begin[w][k].eq(self.base[w]) for w in range(self.ways)]
        with m.Elif(self.next):
            for k in range(loops):
                inner = Cat(ends[:k]).all() if k else 1
                with m.If(inner & ~ends[k]):
                    m.d.sync += [left[k].eq(left[k] - 1), ends[k].eq(left[k] == 1), self.fresh.eq((1 << k) - 1)]
                    m.d.sync += [left[j].eq(counts[j] - 1) for j in range(k)]
                    m.d.sync += [ends[j].eq(counts[j] == 1) for j in range(k)]
                    for w in range(self.ways):
                        moved = begin[w][k] + self.step[w][k]
                        m.d.sync += [begin[w][j].eq(moved) for j in range(k + 1)]
        return m
