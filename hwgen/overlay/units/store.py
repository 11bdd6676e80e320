"""The store unit: :class:`~hwgen.overlay.isa.Store` and :class:`~hwgen.overlay.isa.End`."""

from typing import Any

from amaranth import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out

from ..engine import Engine
from ..isa import OPCODE, End, Store
from .axi import OKAY, Manager, burst
from .scratchpad import PORT_LATENCY
from .words import Finished, chunk, delayed, fields_of, instruction_layout, instructions, port_signature

__all__ = ["StoreUnit"]

DEPTH = 16  #: beats on their way from the scratchpad to the bus
SPARE = 2  #: of these, for those that begin while ``room`` is being reckoned
WAITING = 4  #: accesses of the scratchpad that wait for it


class StoreUnit(wiring.Component):
    """Announces a burst, reads its bytes from the scratchpad a beat at a time, and sends them.

    Members
    -------
    i : instructions, tokens taken
    finished : their ends, once external memory has answered
    end : for one cycle, at an :class:`~hwgen.overlay.isa.End`
    error : for one cycle, where external memory has answered with an error
    base : address of the external memory's first byte
    aw, w, b : writes of external memory
    port, x : accesses of the scratchpad; bytes ``PORT_LATENCY`` cycles later
    """

    def __init__(self, engine: Engine):
        self.engine = engine
        manager = Manager(engine).members
        super().__init__(
            {
                "i": In(instructions(Store, End)),
                "finished": Out(Finished()),
                "end": Out(1),
                "error": Out(1),
                "base": In(32),
                **{name: manager[name] for name in ("aw", "w", "b")},
                "port": Out(port_signature(engine)),
                "x": In(chunk(1, engine.banks)),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        e = self.engine
        shift = e.bus.bit_length() - 1
        new, d = fields_of(Store, self.i.payload), Signal(instruction_layout(Store))
        active, offered, announced = Signal(), Signal(), Signal()
        external, following = Signal(32), Signal(32)
        local, following_local = Signal(e.address_bits), Signal(e.address_bits)
        left, rows, of_burst = Signal(20), Signal(12), Signal(range(17))  # bytes of the row, rows, beats of the burst
        row_ends, burst_ends, one_beat = Signal(), Signal(), Signal()
        answers, there = Signal(16), Signal(range(DEPTH + 1))  # bursts not answered, beats on their way
        room = Signal(init=1)
        take = self.i.valid & self.i.ready
        length = Signal(range(17))
        aw_done, go = self.aw.valid & self.aw.ready, Signal()
        is_end, first = Signal(), Signal(32)  # of an instruction, before it is taken
        m.d.sync += [is_end.eq(self.i.payload[:OPCODE] == End.opcode), first.eq(self.base + new.external)]
        m.d.comb += [
            self.i.ready.eq(~active),
            self.aw.valid.eq(offered),
            self.aw.payload.address.eq(external),
            self.aw.payload.length.eq(length),
        ]
        with m.If(~active):
            m.d.sync += [
                d.eq(new), active.eq(take & ~is_end), external.eq(first), following.eq(first + new.external_step),
                local.eq(new.local), following_local.eq(new.local + new.local_step), left.eq(new.size), rows.eq(new.rows),
                row_ends.eq(new.size <= e.bus), one_beat.eq(new.size <= e.bus),
            ]  # fmt: skip
        with m.If(~offered):
            m.d.sync += [length.eq(burst(external, (left + (e.bus - 1)) >> shift, e))]
            m.d.sync += offered.eq(active & ~announced & (rows != 0))
        with m.Elif(self.aw.ready):
            m.d.sync += [offered.eq(0), announced.eq(1), of_burst.eq(length), burst_ends.eq(length == 1)]
        with m.If(go):
            m.d.sync += [
                of_burst.eq(of_burst - 1), burst_ends.eq(of_burst == 2), announced.eq(~burst_ends),
                row_ends.eq(Mux(row_ends, one_beat, left <= 2 * e.bus)),
            ]  # fmt: skip
            with m.If(row_ends):
                m.d.sync += [external.eq(following), following.eq(following + d.external_step)]
                m.d.sync += [local.eq(following_local), following_local.eq(following_local + d.local_step)]
                m.d.sync += [left.eq(d.size), rows.eq(rows - 1)]
            with m.Else():
                m.d.sync += [external.eq(external + e.bus), local.eq(local + e.bus), left.eq(left - e.bus)]

        beat = data.StructLayout({"data": chunk(1, e.bus), "strobe": e.bus, "last": 1})
        m.submodules.queue = queue = SyncFIFOBuffered(width=beat.size, depth=DEPTH)
        out = data.View(beat, queue.r_data)
        strobe = Mux(row_ends, Cat(k < left for k in range(e.bus)), (1 << e.bus) - 1)
        wish = data.StructLayout({"address": e.address_bits, "info": e.bus + 1})
        m.submodules.accesses = accesses = SyncFIFOBuffered(width=wish.size, depth=WAITING)
        access = data.View(wish, accesses.r_data)
        m.d.comb += [
            go.eq(announced & room & accesses.w_rdy),
            accesses.w_en.eq(go),
            accesses.w_data.eq(Cat(local, strobe, burst_ends)),
            accesses.r_en.eq(self.port.ready),
            self.port.valid.eq(accesses.r_rdy),
            self.port.payload.address.eq(access.address),
            queue.w_en.eq(delayed(m, accesses.r_rdy & self.port.ready, PORT_LATENCY, "come")),
            queue.w_data.eq(
                Cat(Value.cast(self.x)[: 8 * e.bus], delayed(m, access.info, PORT_LATENCY, "info", reset_less=True))
            ),
            queue.r_en.eq(self.w.ready),
            self.w.valid.eq(queue.r_rdy),
            self.w.payload.data.eq(out.data),
            self.w.payload.strobe.eq(out.strobe),
            self.w.payload.last.eq(out.last),
            self.b.ready.eq(1),
            self.error.eq(self.b.valid & (self.b.payload != OKAY)),
        ]
        sent = self.w.valid & self.w.ready
        m.d.sync += [
            there.eq(there + go - sent),
            room.eq(there < DEPTH - SPARE),
            answers.eq(answers + aw_done - self.b.valid),
        ]
        # All has been sent and answered: what the cycle before says counts once the instruction has been there for one.
        begun, quiet, finished = Signal(), Signal(), Signal()
        m.d.sync += [begun.eq(active & ~finished), quiet.eq((rows == 0) & (answers == 0) & (there == 0))]
        m.d.comb += finished.eq(active & begun & quiet)
        with m.If(finished):
            m.d.sync += active.eq(0)
        m.d.sync += [
            self.end.eq(take & is_end),
            self.finished.done.eq(finished | (take & is_end)),
            self.finished.signal.eq(Mux(active, d.signal, 0)),
        ]
        return m
