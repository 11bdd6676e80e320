"""The sequential engine: external memory, scratchpad, and what is between them; frames in and out as streams of bytes."""

from functools import reduce
from operator import or_
from typing import Any

from amaranth import Cat, Module, Mux, Signal, unsigned
from amaranth.lib import stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..engine import Engine
from ..isa import Place
from ..units.words import UNCHECKED, delayed
from .array import SequentialArray
from .drain import Requantiser
from .memory import SinglePort
from .sequencer import READ, Round, Sequencer
from .vector import SequentialVector
from .words import Kind

__all__ = ["SequentialEngine"]

STREAMS = (Kind.INPUT, Kind.OUTPUT, Kind.BOOT)


class SequentialEngine(wiring.Component):
    """The image comes in first, then its program runs: that says when bytes of frames come and go.

    Members
    -------
    i, o : bytes
    """

    def __init__(self, engine: Engine):
        self.engine = engine
        byte = stream.Signature(unsigned(8))
        super().__init__({"i": In(byte), "o": Out(byte)})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.sequencer = s = Sequencer()
        m.submodules.external = external = SinglePort()
        m.submodules.scratchpad = scratchpad = SinglePort()
        # What is read comes with its round, the address T of those whose results are not late, and where in a word it is.
        found = Signal(Round)
        m.d.comb += found.as_value().eq(delayed(m, s.round.as_value(), READ + 1, "found"))
        second = delayed(m, s.round.slot[0], READ, "second")
        read = Mux((s.kind == Kind.COMBINE) & second, s.b, s.a)
        place = delayed(m, read[:2], 1, "place")
        byte, outside = Signal(8), Signal(8)
        m.d.comb += [
            byte.eq(scratchpad.word.word_select(place, 8)),
            outside.eq(external.word.word_select(place, 8)),
            s.word.eq(external.word),
        ]
        moved = self._streams(m, s, outside)
        unit_results = self._units(m, s, found, byte, scratchpad.word, external.word)

        # What is written, and where.
        inside = Signal(8)
        with m.Switch(s.kind):
            with m.Case(Kind.LOAD):
                m.d.comb += inside.eq(outside)
            with m.Case(Kind.FILL):
                m.d.comb += inside.eq(s.rules.value)
            with m.Case(Kind.DRAIN):
                m.d.comb += inside.eq(unit_results[0])
            with m.Default():
                m.d.comb += inside.eq(unit_results[1])
        local = (s.kind == Kind.FILL) | (s.kind == Kind.DRAIN) | (s.kind == Kind.COMBINE) | (s.kind == Kind.POOL)
        local |= (s.kind == Kind.LOAD) & (s.rules.memory == Place.SCRATCHPAD)
        one = Cat(s.t[:2] == k for k in range(4))
        stores = (s.ends & (s.kind == Kind.STORE)) | (moved & (s.kind != Kind.OUTPUT))
        m.d.comb += [
            scratchpad.write.eq(Mux(s.ends & local, one, 0)),
            scratchpad.data.eq(inside.replicate(4)),
            scratchpad.address.eq(Mux(s.ends & local, s.t, read)[2:]),
            external.write.eq(Mux(stores, one, 0)),
            external.data.eq(Mux(s.kind == Kind.STORE, byte, self.i.payload).replicate(4)),
            external.address.eq(Mux(s.fetch, s.place, Mux(stores, s.t, s.a)[2:])),
        ]
        return m

    def _streams(self, m: Module, s: Sequencer, outside: Signal) -> Signal:
        """Rounds of what brings bytes in or out wait until each has gone; whether one goes in this cycle."""
        streams = reduce(or_, (s.kind == kind for kind in STREAMS))
        held, waiting, moved = Signal(), Signal(), Signal()
        m.d.comb += [
            s.hold.eq(held),
            self.i.ready.eq(waiting & (s.kind != Kind.OUTPUT)),
            self.o.valid.eq(waiting & (s.kind == Kind.OUTPUT)),
            self.o.payload.eq(outside),
            moved.eq((self.i.valid & self.i.ready) | (self.o.valid & self.o.ready)),
        ]
        with m.If(moved):
            m.d.sync += [held.eq(0), waiting.eq(0)]
        with m.Elif(streams & s.round.valid):
            m.d.sync += held.eq(1)
        with m.If(streams & delayed(m, s.round.valid, READ, "asked")):
            m.d.sync += waiting.eq(1)
        return moved

    def _units(self, m: Module, s: Sequencer, found: Any, byte: Signal, word: Any, loaded: Any) -> tuple[Any, Any]:
        """What computes: its results."""
        e = self.engine
        m.submodules.weights = weights = Memory(shape=unsigned(8 * e.columns), depth=e.weights, init=[], attrs=UNCHECKED)
        m.submodules.array = array = SequentialArray(e)
        m.submodules.requantiser = requantiser = Requantiser(e)
        m.submodules.vector = vector = SequentialVector()
        entry, put = weights.read_port(), weights.write_port()
        a, b = delayed(m, s.a, 1, "a_found"), delayed(m, s.b, 1, "b_found")
        column = delayed(m, a[:2], 1, "column")
        loads = s.ends & (s.kind == Kind.LOAD)
        m.d.comb += [
            entry.addr.eq(s.b),
            put.addr.eq(s.t),
            put.data.eq(loaded),
            put.en.eq(loads & (s.rules.memory == Place.WEIGHTS)),
            array.round.eq(found),
            array.multiplies.eq(s.kind == Kind.MULTIPLY),
            array.first.eq(s.rules.first),
            array.together.eq(s.rules.together),
            array.apart.eq(s.rules.apart),
            array.word.eq(word),
            array.byte.eq(byte),
            array.weights.eq(entry.data),
            array.target.eq(s.t),
            array.entry.eq(a[2:]),
            requantiser.round.eq(found),
            requantiser.rules.eq(s.rules),
            requantiser.scale.eq(b),
            requantiser.sum.eq(array.sums[column]),
            requantiser.write.eq(loads & (s.rules.memory == Place.SCALES)),
            requantiser.place.eq(s.t),
            requantiser.word.eq(loaded),
            vector.round.eq(found),
            vector.byte.eq(byte),
            vector.combines.eq(s.kind == Kind.COMBINE),
            vector.rules.eq(s.rules),
            vector.phase.eq(s.phase),
            vector.write.eq(loads & (s.rules.memory == Place.TABLES)),
            vector.entry.eq(s.t),
            vector.word.eq(loaded),
        ]
        return requantiser.result, vector.result
