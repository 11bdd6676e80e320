"""The load unit: :class:`~hwgen.overlay.isa.Load` and :class:`~hwgen.overlay.isa.Fill`."""

from typing import Any

from amaranth import Array, Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out

from ..engine import Engine
from ..exact import MULT_BITS
from ..isa import OPCODE, Fill, Load, Place
from .axi import BURST, LOAD, Manager, burst, until_boundary
from .requantiser import SCALE
from .words import Finished, chunk, delayed, fields_of, first_bytes, instructions, port_signature

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
    clear : the port is ready in the next cycle
    weights_entry, write_weights, weights : where weights are written, whether, the word
    entry : of the others:
    write_scales, scale, write_tables, table : the same of scales and of tables, one cycle later
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
                "clear": In(1),
                "weights_entry": Out(24),
                "write_weights": Out(1),
                "weights": Out(chunk(1, engine.columns)),
                "entry": Out(24),
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
        new = fields_of(Load, self.i.payload)
        active, offered, taken = Signal(), Signal(), Signal()  # taken: the burst has been, in the cycle before
        address, following, left, rows = Signal(32), Signal(32), Signal(20), Signal(12)  # left: beats of the row
        beats, step = Signal(20), Signal(signed(24))
        length, row_ends, last_row = Signal(range(BURST + 1)), Signal(), Signal()
        m.d.comb += [
            self.i.ready.eq(~active & ahead.w_rdy),
            ahead.w_data.eq(self.i.payload),
            ahead.w_en.eq(self.i.valid & self.i.ready),
            self.ar.valid.eq(offered),
            self.ar.payload.address.eq(address),
            self.ar.payload.length.eq(length),
            self.ar.payload.id.eq(LOAD),
        ]
        # What follows from an instruction before it is taken.
        is_load, first, needed = Signal(), Signal(32), Signal(20)
        m.d.sync += [
            is_load.eq(self.i.payload[:OPCODE] == Load.opcode),
            first.eq(self.base + new.external),
            needed.eq((new.size + (e.bus - 1)) >> beat),
        ]
        with m.If(~active):
            m.d.sync += [address.eq(first), left.eq(needed), beats.eq(needed), step.eq(new.external_step), rows.eq(new.rows)]
            m.d.sync += [following.eq(first + new.external_step), active.eq(self.i.valid & self.i.ready & is_load)]
        # A burst is reckoned in one cycle, and offered from the next one on.
        with m.If(~offered & ~taken):
            m.d.sync += [
                length.eq(burst(address, left, e)),
                row_ends.eq(left <= until_boundary(address, e)),
                last_row.eq(rows == 1),
            ]
            m.d.sync += offered.eq(active)
        with m.Elif(self.ar.ready):
            m.d.sync += offered.eq(0)
        m.d.sync += taken.eq(offered & self.ar.ready)
        with m.If(taken):
            with m.If(row_ends):
                m.d.sync += [address.eq(following), following.eq(following + step), left.eq(beats), rows.eq(rows - 1)]
                m.d.sync += active.eq(~last_row)
            with m.Else():
                m.d.sync += [address.eq(address + (length << beat)), left.eq(left - length)]

    def _put(self, m: Module, ahead: SyncFIFOBuffered) -> None:
        """Beats are collected to words of the memory that they are for."""
        e = self.engine
        head = ahead.r_data
        load, fill = fields_of(Load, head), fields_of(Fill, head)
        is_fill = head[:OPCODE] == Fill.opcode
        size, start_step = Mux(is_fill, fill.size, load.size), Mux(is_fill, fill.local_step, load.local_step)
        start = Mux(is_fill, fill.local, load.local)
        whole_row = Mux(is_fill, fill.size <= e.banks, load.size <= e.bus)
        places = [
            (1 if p == Place.SCRATCHPAD else e.entries_of(p), e.banks // e.bus if p == Place.SCRATCHPAD else e.beats_of(p))
            for p in Place
        ]
        last_parts, last_slots = (Array(n - 1 for n in counts)[load.place] for counts in zip(*places, strict=True))
        bits = max(e.address_bits, *((n - 1).bit_length() for n in (e.weights, e.scales, 512)))  # of an address or an entry
        d = Signal(data.StructLayout({"size": 20, "step": signed(bits), "value": 8, "place": Place, "fill": 1, "signal": 4}))
        # loading, filling: there are rows to come of a Load, of a Fill.
        active, loading, filling = Signal(), Signal(), Signal()
        local, following, left, rows = Signal(bits), Signal(bits), Signal(20), Signal(12)
        longest = max(e.banks, 16) // e.bus  # 16: bytes of a scale
        words = Signal(chunk(e.bus, longest), reset_less=True)  # what has been collected
        slot, mask = Signal(range(longest)), Signal(e.banks)  # mask: bytes of the word that have come
        pending, ends = Signal(), Signal()  # a word to write; the instruction's last one
        part = Signal(range(e.bus))  # of the word's entries, where it has several
        address = Signal(bits)
        written, complete, next_pending = Signal(), Signal(), Signal()
        free = Signal(init=1)  # there is room for another word
        to_scratchpad, last_slot, last_part = Signal(), Signal(range(longest)), Signal(range(e.bus))
        fills, part_ends, next_part_ends = Signal(), Signal(), Signal()  # the slot is the word's last one, the part the beat's
        row_ends, one_word = Signal(), Signal()  # the row has no more bytes than the next word; none has
        # A beat waits to be taken, and one more behind it where the word before has not been written.
        beat, comes = Signal(8 * e.bus), Signal()
        kept, keeps = Signal(8 * e.bus), Signal()
        # Rows: of a Load the bytes of each beat, of a Fill as many as the banks have.
        step = Mux(d.fill, e.banks, e.bus)
        now = Mux(row_ends, left, step)[: e.banks.bit_length()]
        full = filling | fills | (row_ends & to_scratchpad)
        accepted, counted = free & loading & comes, free & (filling | (loading & comes))
        stays = comes & ~accepted
        m.d.comb += [
            written.eq(pending & (~to_scratchpad | self.port.ready)),
            complete.eq(written & part_ends),
            self.r.ready.eq(~keeps),
            next_part_ends.eq(Mux(written, Mux(part_ends, last_part == 0, part + 1 == last_part), part_ends)),
            next_pending.eq(Mux(counted, full, pending & ~complete)),
        ]
        m.d.sync += [
            pending.eq(next_pending),
            part_ends.eq(next_part_ends),
            free.eq(~next_pending | Mux(to_scratchpad, self.clear, next_part_ends)),
            self.port.valid.eq(next_pending & to_scratchpad),
        ]
        m.d.sync += [comes.eq(stays | keeps | self.r.valid), keeps.eq(stays & (keeps | self.r.valid))]
        with m.If(~stays):
            m.d.sync += beat.eq(Mux(keeps, kept, self.r.payload.data))
        with m.If(~keeps):
            m.d.sync += kept.eq(self.r.payload.data)

        with m.If(written):
            m.d.sync += [part.eq(Mux(part_ends, 0, part + 1)), address.eq(address + 1)]
        for k in range(longest):
            with m.If(d.fill | (accepted & (slot == k))):
                m.d.sync += words[k].eq(Mux(d.fill, d.value.replicate(e.bus), beat))
        with m.If(counted):
            m.d.sync += [
                left.eq(Mux(row_ends, d.size, left - step)),
                row_ends.eq(Mux(row_ends, one_word, left <= 2 * step)),
                slot.eq(Mux(full, 0, slot + 1)),
                fills.eq(Mux(full, last_slot == 0, slot + 1 == last_slot)),
            ]
            with m.If(slot == 0):
                m.d.sync += mask.eq(first_bytes(now, e.banks))
            for k in range(1, e.banks // e.bus):
                with m.If(slot == k):
                    m.d.sync += mask[e.bus * k : e.bus * (k + 1)].eq(first_bytes(now, e.bus))
            with m.If(row_ends):
                m.d.sync += [local.eq(following), following.eq(following + d.step), rows.eq(rows - 1)]
                m.d.sync += [loading.eq(loading & (rows != 1)), filling.eq(filling & (rows != 1)), ends.eq(rows == 1)]
            with m.Else():
                m.d.sync += [local.eq(local + now), ends.eq(0)]
            with m.If((slot == 0) & to_scratchpad):
                m.d.sync += address.eq(local)
        m.d.sync += [self.finished.done.eq(complete & ends), self.finished.signal.eq(d.signal)]
        with m.If(complete & ends):
            m.d.sync += [active.eq(0), d.fill.eq(0)]
        m.d.comb += ahead.r_en.eq(~active)
        with m.If(~active):
            m.d.sync += [
                active.eq(ahead.r_rdy), loading.eq(ahead.r_rdy & ~is_fill), filling.eq(ahead.r_rdy & is_fill),
                local.eq(start), following.eq(start + start_step), address.eq(start), left.eq(size),
                row_ends.eq(whole_row), one_word.eq(whole_row),
                rows.eq(Mux(is_fill, fill.rows, load.rows)), slot.eq(0), part.eq(0), ends.eq(0),
                d.size.eq(size), d.step.eq(start_step), d.value.eq(fill.value),
                d.signal.eq(load.signal), d.place.eq(load.place), d.fill.eq(is_fill & ahead.r_rdy),
                to_scratchpad.eq(is_fill | (load.place == Place.SCRATCHPAD)),
                last_slot.eq(last_slots), fills.eq(last_slots == 0),
                last_part.eq(last_parts), part_ends.eq(last_parts == 0),
            ]  # fmt: skip

        whole = words.as_value()
        access = self.port.payload
        m.d.comb += [
            access.write.eq(1),
            access.address.eq(address),
            access.mask.eq(mask),
            Value.cast(access.data).eq(whole[: 8 * e.banks]),
        ]
        # These memories lie far apart, so what is written waits. The vector unit has many: they have registers of their own.
        far = {Place.WEIGHTS: 2, Place.SCALES: 3, Place.TABLES: 3}
        m.d.comb += [
            self.weights_entry.eq(delayed(m, address, far[Place.WEIGHTS], "weights_entry", reset_less=True)),
            self.entry.eq(delayed(m, address, far[Place.SCALES], "entry", reset_less=True)),
        ]
        writes = {Place.WEIGHTS: self.write_weights, Place.SCALES: self.write_scales, Place.TABLES: self.write_tables}
        outs = {Place.WEIGHTS: self.weights, Place.SCALES: self.scale, Place.TABLES: self.table}
        for place in ENTRIES:
            count, width = e.entries_of(place), 8 * e.entry_bytes(place)
            chosen = whole[:width]
            for k in range(1, count):
                chosen = Mux(part == k, whole[width * k : width * (k + 1)], chosen)
            if place == Place.SCALES:
                chosen = Cat(chosen[:MULT_BITS], chosen[64:])
            name = place.name.lower()
            m.d.comb += [
                writes[place].eq(delayed(m, pending & ~to_scratchpad & (d.place == place), far[place], f"writes_{name}")),
                Value.cast(outs[place]).eq(delayed(m, chosen, far[place], name, reset_less=True)),
            ]
