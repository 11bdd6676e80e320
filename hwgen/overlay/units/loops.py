"""Nested loops over addresses."""

from collections.abc import Sequence
from functools import reduce
from operator import or_
from typing import Any

from amaranth import Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["Loops"]

NAMES = ("coming", "held", "left")


class Loops(wiring.Component):
    """Addresses that nested loops go through: a base, and for each round of each loop a step.

    Loop 0 is the innermost. No multiplier: for each loop the address at the beginning of its round is kept. Which loop goes on
    next is known a cycle before, so an address is one sum and one choice away from the next one.

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
    start : begin a run, from the next cycle on; with the last ``next`` of the one before, or later
    base, count, step : of the run that ``start`` begins; ``count`` must be there a cycle before
    next : go on to the next round
    address : of this round, for each way; as what follows only during a run
    inner : for each number of loops, whether so many inner ones are in their last round
    fresh : for each loop, whether it and all within have just begun
    coming : ``fresh`` of the next cycle
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
                "inner": Out(loops + 1),
                "fresh": Out(loops),
                "coming": Out(loops),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        loops = len(self.count_bits)
        every = range(loops)
        inner, turn = Signal(loops + 1, init=1), Signal(loops)  # turn: the loop that goes on next
        idle, over = Signal(init=1), Signal(init=1)  # there is no run; that, or its last round: the next run is made ready
        m.d.comb += self.inner.eq(inner)

        # Of each loop: rounds but one, whether there is one, or two; of the next run, of this one, and what is left of it.
        coming, held, left = ([_Rounds(bits, f"{name}_{k}") for k, bits in enumerate(self.count_bits)] for name in NAMES)
        for k in every:
            count = self.count[str(k)]
            m.d.sync += coming[k].eq(count - 1, count == 1, count == 2)
            with m.If(over):
                m.d.sync += [held[k].eq(*coming[k].all), left[k].eq(*coming[k].all)]
            with m.Elif(self.next & inner[k]):
                with m.If(inner[k + 1]):
                    m.d.sync += left[k].eq(*held[k].all)
                with m.Else():
                    m.d.sync += left[k].eq(left[k].rounds - 1, left[k].two, left[k].rounds == 2)
        for w in range(self.ways):
            step = [Signal(signed(self.address_bits), name=f"step_{w}_{k}") for k in every]
            begin = [Signal(self.address_bits, name=f"begin_{w}_{k}") for k in every]
            m.d.comb += self.address[w].eq(begin[0])
            sums = [(begin[k] + step[k])[: self.address_bits] for k in every]
            moved = reduce(
                or_, (_only(value, which) for value, which in zip([*sums, self.base[w]], [*turn, over], strict=True))
            )
            for k in every:
                with m.If(over):
                    m.d.sync += step[k].eq(self.step[w][k])
                with m.If((idle if k == 0 else over) | (self.next & inner[k])):
                    m.d.sync += begin[k].eq(moved)

        ends = [Mux(inner[k + 1], held[k].one, Mux(turn[k], left[k].two, left[k].one)) for k in every]
        flags = Mux(over, Cat(rounds.one for rounds in coming), Cat(ends))
        ended = over & ~self.start
        m.d.comb += self.coming.eq(Mux(self.next | idle, inner[1:] | over.replicate(loops), self.fresh))
        m.d.sync += self.fresh.eq(self.coming)
        with m.If(self.next | idle):
            m.d.sync += [idle.eq(ended), over.eq(ended | flags.all())]
            for k in every:
                m.d.sync += inner[k + 1].eq(flags[: k + 1].all())
                m.d.sync += turn[k].eq(~ended & ~flags[k] & (flags[:k].all() if k else 1))
        return m


def _only(value: Value, condition: Value) -> Value:
    """``value`` where the condition holds, else 0."""
    return value & condition.replicate(len(value))


class _Rounds:
    """Registers of a loop: rounds but one, whether there is one, whether there are two."""

    def __init__(self, bits: int, name: str):
        self.rounds, self.one, self.two = Signal(bits, name=name), Signal(name=f"{name}_one"), Signal(name=f"{name}_two")
        self.all = self.rounds, self.one, self.two

    def eq(self, *values: Value) -> list[Any]:
        return [register.eq(value) for register, value in zip(self.all, values, strict=True)]
