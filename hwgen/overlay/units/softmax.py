"""Softmax over vectors: :class:`~hwgen.overlay.isa.Softmax`."""

from typing import Any

from amaranth import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.memory import Memory

from ...templates.shares import ADD, FLOAT_BITS, QUOTIENT, STEP, Shares, Steps
from ..engine import Engine
from ..isa import Softmax
from .loops import Loops
from .scratchpad import VECTOR_LATENCY
from .words import UNCHECKED, Target, chunk, delayed, fields_of, instruction_layout, reader_members, rest, tables_side

__all__ = ["SoftmaxUnit", "cycles"]

WAIT = VECTOR_LATENCY + 4  #: cycles from the last read until elements are worked on: bytes, place in the table, float, register
PASSES = 3
QUOTIENT_BITS = 22  #: of the largest one


def cycles(channels: int, lanes: int) -> int:
    """Cycles of ``lanes`` vectors: for each word of them three times read, and turned and written; for each element looked at,
    added, divided."""
    words = -(-channels // lanes)
    words_take = PASSES * (lanes + WAIT) + 1 + 2 * lanes + 4
    return words * words_take + channels * (1 + ADD + QUOTIENT - 1)


class SoftmaxUnit(wiring.Component):
    """``lanes`` vectors at a time, an element of each in step: for their largest, then for the sums, then for the quotients.

    ``lanes`` bytes of each vector are read, and as many results written.

    Members
    -------
    as of :func:`.reader_members`, while it reads there is no result to write; and of :func:`.tables_side`
    """

    def __init__(self, engine: Engine):
        self.engine = engine
        super().__init__(reader_members(engine, Softmax) | tables_side())

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        e = self.engine
        bits = e.lanes.bit_length() - 1
        new, d = fields_of(Softmax, self.i.payload), Signal(instruction_layout(Softmax))
        words, groups, take = Signal(12), Signal(12), Signal()
        m.d.sync += [words.eq((new.channels + e.lanes - 1) >> bits), groups.eq((new.x_count + e.lanes - 1) >> bits)]
        # Vectors of a group, words of a vector, passes, groups of a row, rows.
        lanes = Const(e.lanes, 5)
        m.submodules.source = source = Loops(e.address_bits, (5, 12, 2, 12, 12))
        m.submodules.target = target = Loops(e.address_bits, (5, 12, 12, 12))
        m.d.comb += [
            take.eq(self.i.valid & self.i.ready),
            source.start.eq(take),
            source.base[0].eq(new.source),
            source.count.eq(Cat(lanes, words, Const(PASSES, 2), groups, new.y_count)),
            *(s.eq(a) for s, a in zip(source.step[0], (new.x_step, e.lanes, 0, new.x_step << bits, new.y_step), strict=True)),
            target.start.eq(take),
            target.base[0].eq(new.target),
            target.count.eq(Cat(lanes, words, groups, new.y_count)),
            *(
                s.eq(a)
                for s, a in zip(
                    target.step[0], (new.target_x_step, e.lanes, new.target_x_step << bits, new.target_y_step), strict=True
                )
            ),
            self.address.eq(source.address[0]),
        ]

        # Which elements are here: of the first, a later or the last word of the vectors; those that are to be worked on.
        number, last_word, first_word = Signal(range(e.lanes + 1)), Signal(), Signal()
        left, wait = Signal(range(e.lanes + 1)), Signal(range(max(WAIT, e.lanes)))
        current = Signal(range(PASSES))
        vectors, in_row = Signal(range(e.lanes + 1)), Signal(12)  # vectors of this group; of the row, from this group on
        m.d.sync += vectors.eq(Mux(in_row >= e.lanes, e.lanes, in_row))
        m.submodules.steps = steps = Steps()
        # What the datapaths do in the next cycle: look for the largest, which begins anew, put the next one first, write.
        scans, begins, rotate, writes = Signal(), Signal(), Signal(), Signal()
        m.d.comb += [steps.divides.eq(current == PASSES - 1), self.issued.eq(writes)]

        def following() -> None:
            """The word is done."""
            m.d.sync += first_word.eq(last_word)
            with m.If(last_word):
                m.d.sync += current.eq(Mux(current == PASSES - 1, 0, current + 1))
            m.next = "READ"

        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += self.i.ready.eq(1)
                m.d.sync += [current.eq(0), first_word.eq(1)]
                with m.If(take):
                    m.d.sync += [d.eq(new), in_row.eq(new.x_count)]
                    m.next = "READ"
            with m.State("READ"):
                m.d.comb += [self.valid.eq(1), source.next.eq(1)]
                m.d.sync += [wait.eq(WAIT - 1), last_word.eq(source.inner[2])]
                with m.If(source.inner[1]):
                    m.next = "WAIT"
            with m.State("WAIT"):
                m.d.sync += wait.eq(wait - 1)
                count = Mux(last_word, rest(d.channels, e.lanes), e.lanes)
                m.d.sync += [number.eq(count), left.eq(count)]
                with m.If(wait == 0):
                    with m.If(current == 0):
                        m.next = "SCAN"
                    with m.Else():
                        m.next = "WORK"
            with m.State("SCAN"):
                m.d.comb += [scans.eq(1), begins.eq(first_word & (left == number)), rotate.eq(1)]
                m.d.sync += left.eq(left - 1)
                with m.If(left == 1):
                    following()
            with m.State("WORK"):
                m.d.comb += [steps.go.eq(left != 0), rotate.eq(steps.taken)]
                with m.If(steps.ready):
                    m.d.sync += [left.eq(left - 1), wait.eq(e.lanes - number)]
                    with m.If(left == 0):
                        with m.If(current == 1):
                            following()
                        with m.Else():
                            m.next = "LAST"
            with m.State("LAST"):
                m.next = "TURN"
            with m.State("TURN"):  # until the first result is the first byte
                m.d.comb += rotate.eq(wait != 0)
                m.d.sync += wait.eq(wait - 1)
                with m.If(wait == 0):
                    m.d.sync += wait.eq(e.lanes - 1)
                    m.next = "WRITE"
            with m.State("WRITE"):
                m.d.comb += [writes.eq(1), target.next.eq(1)]
                m.d.sync += wait.eq(wait - 1)
                with m.If(wait == 0):
                    with m.If(last_word):
                        m.d.sync += in_row.eq(Mux(in_row > e.lanes, in_row - e.lanes, d.x_count))
                    m.next = "WRITTEN"
                    with m.If(target.inner[-1]):
                        m.next = "IDLE"
            with m.State("WRITTEN"):  # the last result is
                following()

        vector = Signal(range(e.lanes))
        here = Signal(Target(e))
        m.d.comb += [
            vector.eq(e.lanes - 1 - wait),
            here.address.eq(target.address[0]),
            here.count.eq(Mux(vector < vectors, number, 0)),
            here.ends.eq(target.inner[-1]),
            here.signal.eq(d.signal),
        ]
        step, scanning, starting, rotating = Signal(STEP), Signal(), Signal(), Signal()
        m.d.sync += [
            step.eq(steps.step), scanning.eq(scans), starting.eq(begins), rotating.eq(rotate),
            self.results.valid.eq(writes), self.results.target.eq(here),
        ]  # fmt: skip
        arrived = delayed(m, self.valid, VECTOR_LATENCY, "arrived")
        most, put = Signal(9), delayed(m, step.limit, 1, "put")
        m.d.sync += most.eq(127 - d.zero)
        held = [Signal(chunk(1, e.lanes), name=f"bytes_{n}", reset_less=True) for n in range(e.lanes)]
        m.d.comb += self.results.data.eq(held[0])
        for n, after in enumerate([*held[1:], Cat(self.x[k] for k in range(e.lanes))]):
            m.submodules[f"shares_{n}"] = shares = Shares(QUOTIENT_BITS)
            m.submodules[f"table_{n}"] = table = Memory(shape=FLOAT_BITS, depth=512, init=[], attrs=UNCHECKED)
            read, write = table.read_port(), table.write_port()
            mine, first = held[n], held[n][0].as_signed()
            largest, place = (
                Signal(signed(8), name=f"largest_{n}", reset_less=True),
                Signal(8, name=f"place_{n}", reset_less=True),
            )
            operand = Signal(FLOAT_BITS, name=f"operand_{n}", reset_less=True)
            with m.If(arrived | self.results.valid):
                m.d.sync += mine.eq(after)
            with m.Elif(rotating):
                m.d.sync += mine.eq(Value.cast(mine).rotate_right(8))
            with m.Elif(put):
                m.d.sync += mine[-1].eq(shares.quotient + d.zero)
            with m.If(scanning & (starting | (first > largest))):
                m.d.sync += largest.eq(first)
            m.d.sync += [place.eq(first - largest - 1), operand.eq(read.data)]
            m.d.comb += [
                read.addr.eq(Cat(place, steps.divides)),
                write.addr.eq(self.write_entry),
                Value.cast(write.data).eq(self.write_data),
                write.en.eq(self.write),
                shares.step.eq(step),
                shares.step.clear.eq(scanning),
                shares.operand.eq(operand),
                shares.most.eq(most),
            ]
        return m
