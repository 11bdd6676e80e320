"""Reads words of the program, and goes through the loops of an instruction: a round in each cycle."""

from typing import Any

from amaranth import Array, Cat, Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..units.words import UNCHECKED, delayed
from .memory import WORDS
from .words import BASE, BITS, BOOT, HELD, LEVELS, RULES, WORD, Kind, Way

__all__ = ["AFTER", "BEFORE", "LATE", "READ", "Round", "Sequencer"]

READ = 2  #: cycles from a round to its addresses
LATE = 11  #: more for the address T of what takes its time
AFTER = 14  #: cycles after the last round until the next word of the program is asked for
BEFORE = len(LEVELS) + 1  #: cycles from the word that starts an instruction to its first round
PLACES = 128  #: registers of a way: 8 of each kind

#: Of a round: which one of the innermost loop, whether that is the last; of a Multiply whether sums come in it instead of
#: products, and whether it is a position's last; of a Pool whether it is a window's first element.
Round = data.StructLayout({"valid": 1, "slot": LEVELS[0], "last": 1, "sums": 1, "position": 1, "opens": 1})


class Sequencer(wiring.Component):
    """One instruction after the other.

    After a reset it brings the image in, then goes where the last word of external memory leads.

    Members
    -------
    word, fetch, place : of the program, a cycle after it has been asked for there
    hold : a stream is waited for: no round in this cycle
    kind, rules : of the instruction
    round : the one of this cycle
    a, b : its addresses, ``READ`` cycles later
    t : address T, a cycle after those, or ``LATE`` more where results are late
    ends : whether that is where the result of a round goes, or of several
    phase : of the slots of an element
    """

    def __init__(self) -> None:
        super().__init__(
            {
                "word": In(WORD),
                "fetch": Out(1),
                "place": Out(range(WORDS), init=WORDS - 1),
                "hold": In(1),
                "kind": Out(Kind, init=BOOT.kind),
                "rules": Out(RULES),
                "round": Out(Round),
                "a": Out(BITS),
                "b": Out(BITS),
                "t": Out(BITS),
                "ends": Out(1),
                "phase": Out(2),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        starting, running, write = Signal(), Signal(), Signal()
        level, ended, element = Signal(3), Signal(), Signal()
        count = Signal(range(max(AFTER, BEFORE)))
        with m.FSM(init="start"):
            with m.State("fetch"):
                m.d.comb += self.fetch.eq(1)
                m.d.sync += self.place.eq(self.place + 1)
                m.next = "write"
            with m.State("write"):
                m.d.comb += write.eq(1)
                m.next = "fetch"
                with m.If(self.word.go):
                    m.d.sync += self.kind.eq(self.word.kind)
                    m.next = "start"
                    with m.If(self.word.kind == Kind.END):
                        m.d.sync += self.place.eq(self.word.value)
                        m.next = "fetch"
            with m.State("start"):
                m.d.comb += starting.eq(1)
                m.d.sync += count.eq(count + 1)
                with m.If(count == BEFORE - 1):
                    m.d.sync += count.eq(0)
                    m.next = "run"
            with m.State("run"):
                m.d.comb += running.eq(1)
                with m.If(ended):
                    m.next = "after"
            with m.State("after"):
                m.d.sync += count.eq(count + ~self.hold)
                with m.If(count == AFTER - 1):
                    m.d.sync += count.eq(0)
                    m.next = "fetch"
        found = self._registers(m, Way.COUNT, count[:3], write)
        self._loops(m, starting, running, count, found, level, element, ended)
        self._addresses(m, level, element, write)
        m.d.sync += self.phase.eq(Mux(starting, 0, self.phase + 1))
        rules = Array(self.rules.as_value()[BITS * k :][:BITS] for k in range(-(-RULES.size // BITS)))
        with m.If(write & (self.word.way == Way.RULES)):
            m.d.sync += rules[self.word.level].eq(self.word.value)
        return m

    def _registers(self, m: Module, way: Way, level: Value, write: Signal) -> Any:
        """What a way's register of the instruction's kind holds, a cycle later."""
        init = [0] * PLACES
        for (other, number), value in BOOT.registers().items():
            if other == way:
                init[8 * BOOT.kind + number] = value
        m.submodules[f"registers_{way.name.lower()}"] = memory = Memory(shape=BITS, depth=PLACES, init=init, attrs=UNCHECKED)
        port, put = memory.read_port(), memory.write_port()
        m.d.comb += [
            port.addr.eq(Cat(level, self.kind)),
            put.addr.eq(Cat(self.word.level, self.word.kind)),
            put.data.eq(self.word.value),
            put.en.eq(write & (self.word.way == way)),
        ]
        return port.data

    def _loops(
        self, m: Module, starting: Signal, running: Signal, count: Signal, found: Value, level: Signal, element: Signal,
        ended: Signal,
    ) -> None:  # fmt: skip
        """Which loop goes on in each cycle; whether an element's last round is in this one, and the instruction's."""
        levels = range(len(LEVELS))
        most = [Signal(bits, name=f"most_{k}") for k, bits in enumerate(LEVELS)]
        left = [Signal(bits, name=f"left_{k}") for k, bits in enumerate(LEVELS)]
        zero = Signal(len(LEVELS))
        turn, onward, repeats = Signal(3), Signal(), Signal()
        outer = level[2] & (level != HELD)  # another position, of a Multiply
        m.d.comb += [
            zero.eq(Cat(rounds == 0 for rounds in left)),
            self.round.valid.eq(running & ~self.hold),
            self.round.slot.eq((most[0] - left[0])[: LEVELS[0]]),
            self.round.last.eq(zero[0]),
            self.round.sums.eq(outer),
            self.round.position.eq(zero[:4].all()),
            self.round.opens.eq(outer | (level == 3)),
            element.eq(zero[0] & ((self.kind != Kind.POOL) | zero[1:3].all())),
            repeats.eq((self.kind == Kind.MULTIPLY) & outer),
            onward.eq(self.round.valid & ~repeats),
            ended.eq(onward & zero.all()),
        ]
        m.d.comb += turn.eq(len(LEVELS) - 1)
        for k in reversed(levels):
            with m.If(~zero[k]):
                m.d.comb += turn.eq(k)
        with m.If(starting):
            m.d.sync += level.eq(BASE)
        with m.Elif(self.round.valid):
            m.d.sync += level.eq(Mux(repeats, HELD, turn))
        for k in levels:
            with m.If(starting & (count == k + 1)):
                m.d.sync += [most[k].eq(found), left[k].eq(found)]
            with m.Elif(onward & zero[:k].all()):
                m.d.sync += left[k].eq(Mux(zero[k], most[k], left[k] - 1))

    def _addresses(self, m: Module, level: Signal, element: Signal, write: Signal) -> None:
        """Each moves by what its register for that loop holds."""
        slow = (self.kind == Kind.DRAIN) | (self.kind == Kind.COMBINE) | (self.kind == Kind.POOL)
        now, late = Cat(level, self.round.valid, self.round.valid & element), Signal(5)
        m.d.comb += late.eq(Mux(slow, delayed(m, now, LATE, "late"), now))
        target = Signal(BITS)
        for way, address, which in ((Way.A, self.a, now), (Way.B, self.b, now), (Way.T, target, late)):
            begins, moves = (Signal(name=f"{what}_{way.name.lower()}") for what in ("begins", "moves"))
            step = self._registers(m, way, which[:3], write)
            m.d.sync += [begins.eq(which[:3] == BASE), moves.eq(which[3])]
            with m.If(moves):
                m.d.sync += address.eq(Mux(begins, 0, address) + step)
        m.d.sync += self.t.eq(target)
        m.d.comb += self.ends.eq(delayed(m, late[4], READ + 1, "ends"))
