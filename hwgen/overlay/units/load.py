"""The load unit: :class:`~hwgen.overlay.isa.Load` and :class:`~hwgen.overlay.isa.Fill`."""

from typing import Any

from amaranth import Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out

from ..engine import Engine
from ..exact import MULT_BITS
from ..isa import OPCODE, Fill, Load, Place
from .axi import LOAD, Manager, burst
from .requantiser import SCALE
from .words import Finished, chunk, fields_of, instruction_layout, instructions, port_signature

__all__ = ["LoadUnit"]

ENTRIES = (Place.WEIGHTS, Place.SCALES, Place.TABLES)  #: memories that are not of bytes
AHEAD = 4  #: instructions whose bytes are asked for before those of the first have come


class LoadUnit(wiring.Component):
    """One half asks for bursts, the other puts what comes into the memories; the first may be some instructions ahead.

    Members
    -------
    i : instructions, tokens taken
    finished : their ends
    base : address of the external memory's first byte
    ar, r : reads of external memory
    port : accesses of the scratchpad
    weights, scales, tables : whether a word is written there, which entry, the word
    """

    def __init__(self, engine: Engine):
        self.engine = engine
        manager = Manager(engine).members
        super().__init__(
            {
                "i": In(instructions(Load, Fill)),
                "finished": Out(Finished()),
                "base": In(32),
                "ar": manager["ar"],
                "r": manager["r"],
                "port": Out(port_signature(engine)),
                "entry": Out(24),
                "write_weights": Out(1),
                "weights": Out(chunk(1, engine.columns)),
                "write_scales": Out(1),
                "scale": Out(SCALE),
                "write_tables": Out(1),
                "table": Out(signed(32)),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.ahead = ahead = SyncFIFOBuffered(width=len(self.i.payload), depth=AHEAD)
        self._ask(m, ahead)
        self._put(m, ahead)
        return m

    def _ask(self, m: Module, ahead: SyncFIFOBuffered) -> None:
        """Bursts of each row."""
        e = self.engine
        beat = e.bus.bit_length() - 1
        new, d = fields_of(Load, self.i.payload), Signal(instruction_layout(Load))
        is_load = self.i.payload[:OPCODE] == Load.opcode
        active, address, row, left, rows = Signal(), Signal(32), Signal(32), Signal(20), Signal(12)
        beats = Signal(20)
        m.d.comb += beats.eq((d.size + (e.bus - 1)) >> beat)
        length = burst(address, left, e)
        m.d.comb += [
            self.i.ready.eq(~active & ahead.w_rdy),
            ahead.w_data.eq(self.i.payload),
            ahead.w_en.eq(self.i.valid & self.i.ready),
            self.ar.valid.eq(active),
            self.ar.payload.address.eq(self.base + address),
            self.ar.payload.length.eq(length),
            self.ar.payload.id.eq(LOAD),
        ]
        following = row + d.external_step
        with m.If(self.i.valid & self.i.ready & is_load):
            m.d.sync += [
                d.eq(new), active.eq(1), address.eq(new.external), row.eq(new.external), rows.eq(new.rows),
                left.eq((new.size + (e.bus - 1)) >> beat),
            ]  # fmt: skip
        with m.If(self.ar.valid & self.ar.ready):
            m.d.sync += [address.eq(address + (length << beat)), left.eq(left - length)]
            with m.If(left == length):
                m.d.sync += [address.eq(following), row.eq(following), left.eq(beats), rows.eq(rows - 1)]
                m.d.sync += active.eq(rows != 1)

    def _put(self, m: Module, ahead: SyncFIFOBuffered) -> None:
        """Beats are collected to words of the memory that they are for."""
        e = self.engine
        head = ahead.r_data
        load, fill = fields_of(Load, head), fields_of(Fill, head)
        is_fill = head[:OPCODE] == Fill.opcode
        d = Signal(data.StructLayout({"size": 20, "step": signed(24), "value": 8, "place": Place, "fill": 1, "signal": 4}))
        active, local, row, left, rows = Signal(), Signal(24), Signal(24), Signal(20), Signal(12)
        longest = max(e.banks, 16) // e.bus  # 16: bytes of a scale
        words = Signal(chunk(e.bus, longest))  # what has been collected
        slot, bytes_there = Signal(range(longest)), Signal(range(e.banks + 1))
        pending, ends = Signal(), Signal()  # a word to write; the instruction's last one
        part = Signal(range(e.bus))  # of the word's entries, where it has several
        address = Signal(24)
        written, complete = Signal(), Signal()
        accepted = self.r.valid & self.r.ready
        to_scratchpad = d.fill | (d.place == Place.SCRATCHPAD)
        slots, parts = Signal(range(longest + 1)), Signal(range(e.bus + 1))
        m.d.comb += [
            written.eq(pending & (~to_scratchpad | self.port.ready)),
            complete.eq(written & (to_scratchpad | (part == parts - 1))),
            self.r.ready.eq(active & ~d.fill & (~pending | complete) & (rows != 0)),
            slots.eq(e.banks // e.bus),
            parts.eq(1),
        ]
        for place in ENTRIES:
            with m.If(~d.fill & (d.place == place)):
                m.d.comb += [slots.eq(e.beats_of(place)), parts.eq(e.entries_of(place))]

        # Rows: of a Load the bytes of each beat, of a Fill as many as the banks have.
        step = Mux(d.fill, e.banks, e.bus)
        row_ends = left <= step
        filled = active & d.fill & (rows != 0) & (~pending | complete)
        counted = accepted | filled
        now = Mux(row_ends, left, step)[: len(bytes_there)]
        full = filled | (slot == slots - 1) | (row_ends & to_scratchpad)
        with m.If(complete):
            m.d.sync += pending.eq(0)
        with m.If(written):
            m.d.sync += [part.eq(Mux(complete, 0, part + 1)), address.eq(address + 1)]
        with m.If(accepted):
            m.d.sync += words[slot].eq(self.r.payload.data)
        with m.If(counted):
            m.d.sync += [
                left.eq(Mux(row_ends, d.size, left - step)),
                slot.eq(Mux(full, 0, slot + 1)),
                bytes_there.eq(Mux(slot == 0, 0, bytes_there) + now),
            ]
            with m.If(row_ends):
                m.d.sync += [local.eq(row + d.step), row.eq(row + d.step), rows.eq(rows - 1)]
            with m.Else():
                m.d.sync += local.eq(local + now)
            with m.If((slot == 0) & to_scratchpad):
                m.d.sync += address.eq(local)
            with m.If(full):
                m.d.sync += [pending.eq(1), ends.eq(row_ends & (rows == 1))]
        m.d.sync += [self.finished.done.eq(complete & ends), self.finished.signal.eq(d.signal)]
        with m.If(complete & ends):
            m.d.sync += active.eq(0)
        m.d.comb += ahead.r_en.eq(~active)
        with m.If(ahead.r_rdy & ahead.r_en):
            start = Mux(is_fill, fill.local, load.local)
            m.d.sync += [
                active.eq(1), local.eq(start), row.eq(start), address.eq(start), slot.eq(0), part.eq(0),
                left.eq(Mux(is_fill, fill.size, load.size)), rows.eq(Mux(is_fill, fill.rows, load.rows)),
                d.size.eq(Mux(is_fill, fill.size, load.size)), d.step.eq(Mux(is_fill, fill.local_step, load.local_step)),
                d.signal.eq(load.signal), d.place.eq(load.place), d.fill.eq(is_fill), d.value.eq(fill.value),
            ]  # fmt: skip

        whole = words.as_value()
        access = self.port.payload
        m.d.comb += [
            self.port.valid.eq(pending & to_scratchpad),
            access.write.eq(1),
            access.address.eq(address),
            access.count.eq(bytes_there),
            Value.cast(access.data).eq(Mux(d.fill, d.value.replicate(e.banks), whole[: 8 * e.banks])),
            self.entry.eq(address),
        ]
        writes = {Place.WEIGHTS: self.write_weights, Place.SCALES: self.write_scales, Place.TABLES: self.write_tables}
        outs = {Place.WEIGHTS: self.weights, Place.SCALES: self.scale, Place.TABLES: self.table}
        for place in ENTRIES:
            count, bits = e.entries_of(place), 8 * e.entry_bytes(place)
            chosen = whole[:bits]
            for k in range(1, count):
                chosen = Mux(part == k, whole[bits * k : bits * (k + 1)], chosen)
            if place == Place.SCALES:
                chosen = Cat(chosen[:MULT_BITS], chosen[64:])
            m.d.comb += [
                writes[place].eq(pending & ~d.fill & (d.place == place)),
                Value.cast(outs[place]).eq(chosen),
            ]
