"""The multiply unit: weights, activations and sums of :class:`~hwgen.overlay.isa.Multiply`."""

from typing import Any, NamedTuple

from amaranth import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ..engine import Engine
from ..isa import Multiply
from ..timing import GAP
from .array import MultiplierArray
from .loops import Loops
from .scratchpad import LATENCY
from .sums import BANKS, array_side
from .sums import LATENCY as SUMS_LATENCY
from .words import Finished, chunk, delayed, fields_of, instruction_layout, instructions

__all__ = ["MultiplyUnit"]


LOOPS = ("x", "y", "k0", "k1", "k2")
WEIGHTS_LATENCY = 2  #: cycles from an entry's number to its weights


class _Between(NamedTuple):
    """What the two sequencers tell each other: an instruction that waits for the positions, whether there is one;

    whether in the next cycle a tile may begin (its weights are in the array when a position that begins then is), whether one
    begins, whether in the next cycle none may, as one has just begun.
    """

    waiting: Any
    there: Signal
    can_soon: Signal
    started: Signal
    close_soon: Signal


class MultiplyUnit(wiring.Component):
    """Two sequencers: one brings the weights of a tile into the array, the other goes through its positions meanwhile.

    A tile takes a cycle for each position, for each word of its weights, or ``GAP``, whatever is most; an instruction that goes
    on with sums of earlier ones begins ``GAP`` cycles after the last position of the one before.

    Members
    -------
    i : instructions, tokens taken
    finished : their ends
    address, x : of the scratchpad; the bytes ``LATENCY`` cycles later
    weights_address, weights : of the memory of weights; data ``WEIGHTS_LATENCY`` cycles later
    sums : the memory of sums, the array's side
    """

    def __init__(self, engine: Engine):
        self.engine = engine
        super().__init__(
            {
                "i": In(instructions(Multiply)),
                "finished": Out(Finished()),
                "address": Out(engine.address_bits),
                "x": In(chunk(1, engine.banks)),
                "weights_address": Out(range(engine.weights)),
                "weights": In(chunk(1, engine.columns)),
                **array_side(engine),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        e = self.engine
        m.submodules.array = array = MultiplierArray(e)
        kind = data.StructLayout({"fields": instruction_layout(Multiply), "across": 16})
        between = _Between(Signal(kind, name="waiting"), *(Signal(name=name) for name in _Between._fields[1:]))
        self._weights(m, array, between)
        self._positions(m, array, between)
        return m

    def _weights(self, m: Module, array: MultiplierArray, between: _Between) -> None:
        """The sequencer that brings the weights of tiles into the array."""
        waiting, there, can_soon, started, close_soon = between
        e = self.engine
        m.submodules.tiles = tiles = Loops(1, (10, 8, 8))
        i = fields_of(Multiply, self.i.payload)
        active, reading, full, entries = Signal(), Signal(), Signal(), Signal(range(e.rows))
        last, resumes = Signal(), Signal()  # the last entry of a tile is read; reading begins with the next cycle
        depthwise, address = Signal(), Signal(range(e.weights))
        entries_but_one = Mux(depthwise, e.taps - 1, e.rows - 1)
        take = self.i.valid & self.i.ready

        # What follows from an instruction before it is taken. In depthwise mode as many positions in a row as bytes are read.
        first_entry, near = Signal(range(e.weights)), Signal(15)
        across = Signal(16)
        m.d.sync += [
            first_entry.eq(i.weights + Mux(i.depthwise, e.taps - 1, e.rows - 1)),
            near.eq(Mux(i.stride[0], i.x_count, 0) + Mux(i.stride[1], i.x_count << 1, 0)),
            across.eq(Mux(i.depthwise, near + (Mux(i.stride[2], i.x_count << 2, 0) + (e.taps - i.stride)), i.x_count)),
        ]
        more = active & ~(last & tiles.inner[-1])  # a tile to read after this cycle
        m.d.comb += [
            self.i.ready.eq(~active & ~there),
            tiles.start.eq(take),
            tiles.count.eq(_tiles(i)),
            tiles.next.eq(last),
            resumes.eq(Mux(last, started & more, active & Mux(started, 1, ~full & ~reading))),
        ]
        with m.If(take):
            m.d.sync += [waiting.fields.eq(i), waiting.across.eq(across), active.eq(1), depthwise.eq(i.depthwise)]
        with m.Elif(last):
            m.d.sync += active.eq(more)
        with m.If(reading):
            m.d.sync += [address.eq(address + Mux(last, 2 * entries_but_one + 1, -1)), entries.eq(entries - 1)]
        with m.If(take):
            m.d.sync += address.eq(first_entry)
        with m.If(resumes):
            m.d.sync += entries.eq(entries_but_one)
        next_last, next_full = Signal(), Signal()
        m.d.comb += [
            next_last.eq(Mux(resumes, entries_but_one == 0, reading & (entries == 1))),
            next_full.eq(~started & (full | last)),
        ]
        m.d.sync += [
            reading.eq(resumes | (reading & ~last)),
            last.eq(next_last),
            full.eq(next_full),
        ]
        m.d.comb += can_soon.eq((next_last | next_full) & ~close_soon)
        # So late that a word shifts one cycle before activations of the same number would be multiplied.
        delay = LATENCY - WEIGHTS_LATENCY
        m.d.comb += [
            self.weights_address.eq(delayed(m, address, delay, "weights_address", reset_less=True)),
            array.shift.eq(delayed(m, reading, delay + WEIGHTS_LATENCY, "shift")),
            array.weights.eq(self.weights),
        ]

    def _positions(self, m: Module, array: MultiplierArray, between: _Between) -> None:
        """The sequencer that goes through the positions of tiles."""
        waiting, there, can_soon, started, close_soon = between
        e = self.engine
        m.submodules.positions = loops = Loops(e.address_bits, (16, 12, 10, 8, 8))
        fields, i = waiting.fields, Signal(instruction_layout(Multiply))
        active, zero = Signal(), Signal()
        close = Signal(GAP - 2)  # at most so many cycles since the tile's first position
        settled = Signal()  # ``waiting`` has been there for a cycle
        entry = Signal(range(e.sums))
        first = loops.fresh[1]  # position of the tile
        go, ends = Signal(), Signal()
        m.d.comb += [started.eq(go & first), ends.eq(go & loops.inner[-1])]
        take = settled & (~active | ends)
        # Whether a position begins is settled a cycle before, as much hangs on it.
        active_soon = take | (active & ~ends)
        m.d.sync += go.eq(active_soon & (~loops.coming[1] | can_soon))
        m.d.comb += [
            loops.start.eq(take),
            loops.next.eq(go),
            loops.base[0].eq(fields.source),
            *(step.eq(getattr(fields, f"{name}_step")) for step, name in zip(loops.step[0], LOOPS, strict=True)),
            loops.count.eq(Cat(waiting.across, fields.y_count, _tiles(fields))),
            self.address.eq(loops.address[0]),
        ]
        # In depthwise mode a sum is complete when its last tap is read.
        until = Signal(range(max(e.taps, 8)))
        emit = ~i.depthwise | (until == 0)
        row_ends, tile_ends = loops.inner[1], loops.inner[2]
        # Sums that an instruction goes on with may be those of the last position.
        begins = started | (take & ~fields.first)
        m.d.comb += close_soon.eq(begins | close[0])
        m.d.sync += [close.eq(Mux(begins, -1, close >> 1)), settled.eq(there & ~take)]
        with m.If(take):
            m.d.sync += [
                i.eq(fields), active.eq(1), zero.eq(fields.first), entry.eq(fields.sums), until.eq(e.taps - 1),
            ]  # fmt: skip
        with m.Elif(go):
            m.d.sync += [
                active.eq(~loops.inner[-1]),
                entry.eq(Mux(tile_ends, i.sums, entry + emit)),
                until.eq(Mux(row_ends, e.taps - 1, Mux(until == 0, i.stride, until) - 1)),
                zero.eq(zero & ~tile_ends),
            ]
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += there.eq(1)
        with m.Elif(take):
            m.d.sync += there.eq(0)

        # Flags go beside the activations, then beside the sums.
        m.d.comb += [
            array.x.eq(self.x),
            Cat(array.read, array.depthwise).eq(delayed(m, Cat(go, i.depthwise), LATENCY, "activations")),
            Cat(array.swap, array.clear).eq(delayed(m, Cat(started, started & i.depthwise), LATENCY - 1, "weights")),
        ]
        flags = data.StructLayout({"valid": 1, "zero": 1, "done": 1, "signal": 4, "entry": entry.shape()})
        late = Cat(go & emit, zero, ends, i.signal, entry)
        wait = LATENCY + e.array_latency
        sooner = data.View(flags, delayed(m, late, wait - SUMS_LATENCY - 2, "sooner"))
        soon = data.View(flags, delayed(m, sooner.as_value(), 1, "soon"))
        read = data.View(flags, delayed(m, soon.as_value(), 1, "read"))
        now = data.View(flags, delayed(m, read.as_value(), SUMS_LATENCY, "sum"))
        written = Signal(flags)
        m.d.comb += self.read_entry.eq(read.entry)
        m.d.sync += written.eq(now)
        for bank in range(BANKS):
            m.d.sync += [
                self.soon[bank].eq(sooner.valid & ~sooner.zero & (sooner.entry[0] == bank)),
                self.read[bank].eq(self.soon[bank]),
                self.write[bank].eq(now.valid & (now.entry[0] == bank)),
            ]
        for total, old, new in zip(self.write_data, self.read_data, array.sums, strict=True):
            register = Signal.like(total, name="total", reset_less=True)
            m.d.sync += register.eq(Mux(now.zero, 0, old) + new)
            m.d.comb += total.eq(register)
        m.d.comb += self.write_entry.eq(written.entry)
        m.d.sync += [self.finished.done.eq(written.done), self.finished.signal.eq(written.signal)]


def _tiles(i: Any) -> Value:
    return Cat(i.k0_count, i.k1_count, i.k2_count)
