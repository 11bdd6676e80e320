"""Fetching a program, and handing its instructions to the units when their tokens are there."""

from typing import Any

from amaranth import Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out

from ..engine import Engine
from ..isa import INSTRUCTIONS, OPCODE, WORD, Instruction, Unit
from .axi import BURST, FETCH, Manager, burst
from .words import Finished, instructions

__all__ = ["COUNT", "Dispatch", "Fetch", "kinds_of"]

COUNT = 24  #: bits of the number of a program's instructions
TOKENS = 16  #: bits of a number of tokens
DEPTH = 16  #: instructions fetched ahead
QUEUE = 8  #: instructions that wait for a unit


def kinds_of(unit: Unit) -> tuple[type[Instruction], ...]:
    """What a unit carries out."""
    return tuple(kind for kind in INSTRUCTIONS if kind.unit == unit)


class Fetch(wiring.Component):
    """Reads a program, in bursts as far as there is room for its words.

    Members
    -------
    start : begin, with these:
    address, count : first byte, instructions
    ar, r : reads of external memory; all that comes is taken at once
    o : the words, in order
    idle : nothing is under way
    """

    def __init__(self, engine: Engine):
        self.engine = engine
        manager = Manager(engine).members
        super().__init__(
            {
                "start": In(1),
                "address": In(32),
                "count": In(COUNT),
                "ar": manager["ar"],
                "r": manager["r"],
                "o": Out(stream.Signature(8 * WORD)),
                "idle": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        e = self.engine
        per = WORD // e.bus  # beats of a word
        m.submodules.queue = queue = SyncFIFOBuffered(width=8 * WORD, depth=DEPTH)
        address, left = Signal(32), Signal(COUNT + 3)  # beats to ask for
        room = Signal(range(DEPTH * per + 1), init=DEPTH * per)  # beats
        coming = Signal(range(DEPTH * per + 1))
        length = burst(address, left, e)
        asked, comes = self.ar.valid & self.ar.ready, self.r.valid & self.r.ready
        popped = self.o.valid & self.o.ready
        m.d.comb += [
            self.ar.valid.eq((left != 0) & (room >= BURST)),
            self.ar.payload.address.eq(address),
            self.ar.payload.length.eq(length),
            self.ar.payload.id.eq(FETCH),
            self.r.ready.eq(1),
            self.o.valid.eq(queue.r_rdy),
            self.o.payload.eq(queue.r_data),
            queue.r_en.eq(self.o.ready),
            self.idle.eq((left == 0) & (coming == 0) & ~queue.r_rdy),
        ]
        with m.If(self.start):
            m.d.sync += [address.eq(self.address), left.eq(self.count * per if per > 1 else self.count)]
        with m.Elif(asked):
            m.d.sync += [address.eq(address + (length << (e.bus.bit_length() - 1))), left.eq(left - length)]
        m.d.sync += [
            room.eq(room - Mux(asked, length, 0) + Mux(popped, per, 0)),
            coming.eq(coming + Mux(asked, length, 0) - comes),
        ]
        if per == 1:
            m.d.comb += [queue.w_en.eq(comes), queue.w_data.eq(self.r.payload.data)]
        else:
            word, beat = Signal(8 * WORD - 8 * e.bus), Signal(range(per))
            with m.If(comes):
                m.d.sync += [beat.eq(beat + 1), word.eq(Cat(word, self.r.payload.data)[8 * e.bus :])]
            m.d.comb += [queue.w_en.eq(comes & (beat == per - 1)), queue.w_data.eq(Cat(word, self.r.payload.data))]
        return m


class Dispatch(wiring.Component):
    """A queue for each unit. Its first instruction leaves when all tokens that it waits for are there, and takes them.

    Members
    -------
    i : words of the program
    unknown : for one cycle, at a word that is no instruction; it is dropped
    finished : of each unit
    units : instructions for each
    """

    def __init__(self, engine: Engine):
        self.engine = engine
        super().__init__(
            {
                "i": In(stream.Signature(8 * WORD)),
                "unknown": Out(1),
                **{f"finished_{unit.name.lower()}": In(Finished()) for unit in Unit},
                **{unit.name.lower(): Out(instructions(*kinds_of(unit))) for unit in Unit},
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        opcode = self.i.payload[:OPCODE]
        known = opcode < len(INSTRUCTIONS)
        tokens = {(a, b): Signal(TOKENS, name=f"tokens_{a.name}_{b.name}".lower()) for a in Unit for b in Unit if a != b}
        taken, room = {}, {}
        for unit in Unit:
            o = getattr(self, unit.name.lower())
            m.submodules[unit.name.lower()] = queue = SyncFIFOBuffered(width=len(o.payload), depth=QUEUE)
            mine = Cat(opcode == kind.opcode for kind in kinds_of(unit)).any()
            room[unit] = ~mine | queue.w_rdy
            wait = queue.r_data[OPCODE : OPCODE + 4]
            there = Cat(~wait[other] | (tokens[other, unit] != 0) for other in Unit if other != unit).all()
            taken[unit] = Mux(o.valid & o.ready, wait, 0)
            m.d.comb += [
                queue.w_en.eq(self.i.valid & mine),
                queue.w_data.eq(self.i.payload),
                o.valid.eq(queue.r_rdy & there),
                o.payload.eq(queue.r_data),
                queue.r_en.eq(o.ready & there),
            ]
        m.d.comb += [self.i.ready.eq(Cat(room.values()).all()), self.unknown.eq(self.i.valid & ~known)]
        for (giver, taker), count in tokens.items():
            finished = getattr(self, f"finished_{giver.name.lower()}")
            m.d.sync += count.eq(count + (finished.done & finished.signal[taker]) - taken[taker][giver])
        return m
