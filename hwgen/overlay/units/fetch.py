"""Fetching a program, and handing its instructions to the units when their tokens are there."""

from typing import Any

from amaranth import Cat, Module, Mux, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out

from ..engine import Engine
from ..isa import OPCODE, WORD, Unit
from .axi import BURST, FETCH, Manager, burst
from .words import Finished, instructions, kinds_of

__all__ = ["BURSTS", "COUNT", "Dispatch", "Fetch"]

COUNT = 24  #: bits of the number of a program's instructions
TOKENS = 16  #: bits of a number of tokens
DEPTH = 16  #: instructions fetched ahead
BURSTS = 2  #: of them under way, at most: with more the first loads would wait for instructions that nothing wants yet
QUEUE = 8  #: instructions that wait for a unit


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
        length, offered = Signal(range(BURST + 1)), Signal()
        asked, comes, popped = self.ar.valid & self.ar.ready, Signal(), Signal()
        data = Signal(8 * e.bus, reset_less=True)
        m.d.comb += [
            self.ar.valid.eq(offered),
            self.ar.payload.address.eq(address),
            self.ar.payload.length.eq(length),
            self.ar.payload.id.eq(FETCH),
            self.r.ready.eq(1),
            self.o.valid.eq(queue.r_rdy),
            self.o.payload.eq(queue.r_data),
            queue.r_en.eq(self.o.ready),
        ]
        m.d.sync += [
            self.idle.eq((left == 0) & (coming == 0) & ~queue.r_rdy),
            comes.eq(self.r.valid),
            data.eq(self.r.payload.data),
            popped.eq(self.o.valid & self.o.ready),
            room.eq(room - Mux(asked, length, 0) + Mux(popped, per, 0)),
            coming.eq(coming + Mux(asked, length, 0) - comes),
        ]
        with m.If(~offered):
            m.d.sync += [
                length.eq(burst(address, left, e)),
                offered.eq((left != 0) & (room >= BURST) & (coming <= (BURSTS - 1) * BURST)),
            ]
        with m.Elif(self.ar.ready):
            m.d.sync += offered.eq(0)
        with m.If(self.start):
            m.d.sync += [address.eq(self.address), left.eq(self.count * per if per > 1 else self.count)]
        with m.Elif(asked):
            m.d.sync += [address.eq(address + (length << (e.bus.bit_length() - 1))), left.eq(left - length)]
        if per == 1:
            m.d.comb += [queue.w_en.eq(comes), queue.w_data.eq(data)]
        else:
            word, beat = Signal(8 * WORD - 8 * e.bus), Signal(range(per))
            with m.If(comes):
                m.d.sync += [beat.eq(beat + 1), word.eq(Cat(word, data)[8 * e.bus :])]
            m.d.comb += [queue.w_en.eq(comes & (beat == per - 1)), queue.w_data.eq(Cat(word, data))]
        return m


class Dispatch(wiring.Component):
    """A queue for each unit. Its first instruction leaves when all tokens that it waits for are there, and takes them.

    An instruction is on its unit's stream for two cycles before it is valid, so that registers can hold what follows from it.

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
                **{unit.name.lower(): Out(instructions(*kinds_of(unit, engine))) for unit in Unit},
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        known = Signal()
        tokens = {(a, b): _Tokens(f"tokens_{a.name}_{b.name}".lower()) for a in Unit for b in Unit if a != b}
        given = {pair: Signal(name=f"given_{pair[0].name}_{pair[1].name}".lower()) for pair in tokens}
        for (giver, taker), gives in given.items():
            finished = getattr(self, f"finished_{giver.name.lower()}")
            m.d.sync += gives.eq(finished.done & finished.signal[taker])
        opcode = self.i.payload[:OPCODE]
        decoded = Signal()  # the word is known to be for these units:
        mine = {unit: Signal(name=f"for_{unit.name}".lower()) for unit in Unit}
        fits, room, someones = Signal(), [], []
        for unit in Unit:
            o = getattr(self, unit.name.lower())
            m.submodules[unit.name.lower()] = queue = SyncFIFOBuffered(width=len(o.payload), depth=QUEUE)
            is_mine = Cat(opcode == kind.opcode for kind in kinds_of(unit, self.engine)).any()
            m.d.sync += mine[unit].eq(is_mine)
            someones.append(is_mine)
            room.append(~is_mine | queue.w_rdy)
            # The first instruction takes its tokens, once it has been there for a cycle, and is offered from the next one on.
            seen, offered, takes, took, popped = Signal(), Signal(), Signal(), Signal(), Signal()
            wait = queue.r_data[OPCODE : OPCODE + 4]
            there = Cat(~wait[other] | tokens[other, unit].there | given[other, unit] for other in Unit if other != unit)
            m.d.comb += [
                queue.w_en.eq(decoded & fits & mine[unit]),
                queue.w_data.eq(self.i.payload),
                takes.eq(seen & there.all()),
                o.valid.eq(offered),
                o.payload.eq(queue.r_data),
                queue.r_en.eq(popped),
            ]
            m.d.sync += [popped.eq(o.ready & offered), took.eq(takes)]
            with m.If(offered):
                m.d.sync += offered.eq(~o.ready)
            with m.Else():
                m.d.sync += [seen.eq(queue.r_rdy & ~takes & ~popped), offered.eq(takes)]
            for giver in Unit:
                if giver != unit:
                    tokens[giver, unit].count(m, given[giver, unit], took & wait[giver])
        m.d.sync += [
            decoded.eq(self.i.valid & ~self.i.ready), known.eq(Cat(someones).any()), fits.eq(Cat(room).all()),
        ]  # fmt: skip
        m.d.comb += [self.i.ready.eq(decoded & fits), self.unknown.eq(decoded & ~known)]
        return m


class _Tokens:
    """A number of tokens, and a register that says whether there are any."""

    def __init__(self, name: str):
        self.number, self.there = Signal(TOKENS, name=name), Signal(name=f"{name}_there")

    def count(self, m: Module, gives: Value, takes: Value) -> None:
        with m.If(gives & ~takes):
            m.d.sync += [self.number.eq(self.number + 1), self.there.eq(1)]
        with m.Elif(takes & ~gives):
            m.d.sync += [self.number.eq(self.number - 1), self.there.eq(self.number != 1)]
