"""The multiply unit: weights, activations and sums of :class:`~hwgen.overlay.isa.Multiply`."""

from typing import Any

from amaranth import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ..engine import Engine
from ..isa import Multiply
from ..timing import GAP
from .array import MultiplierArray, latency
from .loops import Loops
from .scratchpad import LATENCY
from .sums import LATENCY as SUMS_LATENCY
from .sums import array_side
from .words import Finished, chunk, delayed, fields_of, instruction_layout, instructions

__all__ = ["MultiplyUnit"]


WEIGHTS_LATENCY = 2  #: cycles from an entry's number to its weights


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
        waiting = Signal(instruction_layout(Multiply))  # for the positions
        there = Signal()
        can_start, started = Signal(), Signal()
        self._weights(m, array, waiting, there, can_start, started)
        self._positions(m, array, waiting, there, can_start, started)
        return m

    def _weights(self, m: Module, array: MultiplierArray, waiting: Any, there: Signal, can: Signal, started: Signal) -> None:
        """``can``: the weights of a tile are in the array when a position that begins now is; ``started``: one does."""
        e = self.engine
        m.submodules.tiles = tiles = Loops(1, (10, 8, 8))
        i = fields_of(Multiply, self.i.payload)
        active, reading, full, entries = Signal(), Signal(), Signal(), Signal(range(e.rows))
        depthwise, address = Signal(), Signal(range(e.weights))
        last = reading & (entries == 0)
        first_entries = Mux(i.depthwise, e.taps - 1, e.rows - 1)
        next_entries = Mux(depthwise, e.taps - 1, e.rows - 1)
        take = self.i.valid & self.i.ready
        m.d.comb += [
            self.i.ready.eq(~active & ~there),
            tiles.start.eq(take),
            tiles.count.eq(Mux(take, _tiles(i), _tiles(waiting))),
            tiles.next.eq(last),
            can.eq(full | last),
        ]
        with m.If(take):
            m.d.sync += [
                waiting.eq(i), there.eq(1), active.eq(1), depthwise.eq(i.depthwise),
                address.eq(i.weights + first_entries), entries.eq(first_entries),
            ]  # fmt: skip
        more = active & ~(last & tiles.last.all())  # a tile to read after this cycle
        with m.If(reading):
            m.d.sync += [address.eq(address - 1), entries.eq(entries - 1)]
        with m.If(last):
            m.d.sync += [
                address.eq(address + 2 * next_entries + 1), entries.eq(next_entries), active.eq(more),
                full.eq(~started), reading.eq(started & more),
            ]  # fmt: skip
        with m.Elif(started):
            m.d.sync += [full.eq(0), reading.eq(active)]
        with m.Elif(active & ~full):
            m.d.sync += reading.eq(1)
        # So late that a word shifts one cycle before activations of the same number would be multiplied.
        delay = LATENCY - WEIGHTS_LATENCY
        m.d.comb += [
            self.weights_address.eq(delayed(m, address, delay, "weights_address")),
            array.shift.eq(delayed(m, reading, delay + WEIGHTS_LATENCY, "shift")),
            array.weights.eq(self.weights),
        ]

    def _positions(self, m: Module, array: MultiplierArray, waiting: Any, there: Signal, can: Signal, started: Signal) -> None:
        e = self.engine
        m.submodules.positions = loops = Loops(e.address_bits, (16, 12, 10, 8, 8))
        i = Signal(instruction_layout(Multiply))
        x_count = Signal(16)
        active, zero, gap = Signal(), Signal(), Signal(range(GAP))
        entry = Signal(range(e.sums))
        first = loops.fresh[1]  # position of the tile
        go, ends = Signal(), Signal()
        m.d.comb += [
            started.eq(active & first & can & (gap == 0)),
            go.eq(started | (active & ~first)),
            ends.eq(go & loops.last.all()),
        ]
        take = there & (~active | ends)
        reads = Mux(waiting.depthwise, _times(waiting.x_count - 1, waiting.stride) + e.taps, waiting.x_count)
        steps = [waiting.x_step, waiting.y_step, waiting.k0_step, waiting.k1_step, waiting.k2_step]
        held = [i.x_step, i.y_step, i.k0_step, i.k1_step, i.k2_step]
        m.d.comb += [
            loops.start.eq(take),
            loops.next.eq(go),
            loops.base[0].eq(waiting.source),
            *(loops.step[0][k].eq(Mux(take, a, b)) for k, (a, b) in enumerate(zip(steps, held, strict=True))),
            loops.count.eq(
                Mux(
                    take,
                    Cat(reads[:16], waiting.y_count, _tiles(waiting)),
                    Cat(x_count, i.y_count, _tiles(i)),
                )
            ),
            self.address.eq(loops.address[0]),
        ]
        # In depthwise mode a sum is complete when its last tap is read.
        until = Signal(range(max(e.taps, 8)))
        emit = ~i.depthwise | (until == 0)
        with m.If(gap != 0):
            m.d.sync += gap.eq(gap - 1)
        with m.If(started | (take & ~waiting.first)):  # sums that an instruction goes on with may be those of the last position
            m.d.sync += gap.eq(GAP - 1)
        with m.If(take):
            m.d.sync += [
                i.eq(waiting), x_count.eq(reads), active.eq(1), there.eq(0), zero.eq(waiting.first), entry.eq(waiting.sums),
                until.eq(e.taps - 1),
            ]  # fmt: skip
        with m.Elif(ends):
            m.d.sync += active.eq(0)
        with m.Elif(go):
            m.d.sync += entry.eq(Mux(loops.last[:2].all(), i.sums, entry + emit))
            m.d.sync += until.eq(Mux(loops.last[0], e.taps - 1, Mux(until == 0, i.stride, until) - 1))
            with m.If(loops.last[:2].all()):
                m.d.sync += zero.eq(0)

        # Flags go beside the activations, then beside the sums.
        m.d.comb += [
            array.x.eq(self.x),
            Cat(array.read, array.swap, array.depthwise).eq(delayed(m, Cat(go, started, i.depthwise), LATENCY, "activations")),
        ]
        flags = data.StructLayout({"valid": 1, "zero": 1, "done": 1, "signal": 4, "entry": entry.shape()})
        late = Cat(go & emit, zero, ends, i.signal, entry)
        wait = LATENCY + latency(e)
        read = data.View(flags, delayed(m, late, wait - SUMS_LATENCY, "read"))
        now = data.View(flags, delayed(m, read.as_value(), SUMS_LATENCY, "sum"))
        written = Signal(flags)
        m.d.comb += [self.read.eq(read.valid & ~read.zero), self.read_entry.eq(read.entry)]
        m.d.sync += written.eq(now)
        for total, old, new in zip(self.write_data, self.read_data, array.sums, strict=True):
            register = Signal.like(total, name="total", reset_less=True)
            m.d.sync += register.eq(Mux(now.zero, 0, old) + new)
            m.d.comb += total.eq(register)
        m.d.comb += [self.write.eq(written.valid), self.write_entry.eq(written.entry)]
        m.d.sync += [self.finished.done.eq(written.done), self.finished.signal.eq(written.signal)]


def _tiles(i: Any) -> Value:
    return Cat(i.k0_count, i.k1_count, i.k2_count)


def _times(a: Value, b: Value) -> Value:
    """A product with a small number, without a multiplier."""
    return sum((Mux(b[k], a << k, 0) for k in range(1, len(b))), Mux(b[0], a, 0))
