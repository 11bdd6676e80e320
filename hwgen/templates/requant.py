"""Requantiser: accumulators to narrow integers by a serial multiplier of LUTs, an offset, rounding and a clamp.

The multiplication adds a few gated copies of the accumulator per cycle, so that hard multipliers stay with the layers.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from amaranth import Cat, Const, Module, Mux, Signal, Value, unsigned
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..arith import IntType, clamp, gives_way, round_half_even
from ..cost import BLOCKS_18K, Cost, Memories, Resources, distinct, even, logic_memory
from ..streams import Stream, Words, serve
from .mac import LOGIC_DEPTH
from .pieces import check_counts, check_rounding, clamp_luts, collect, collected, delay
from .product import product_resources, product_stages, soft_product
from .settings import DEEP, DELTA, WINDOWS, Configurable, Rounding, Setting, may_give_way, rounding_of

__all__ = ["Requant", "RequantParams", "Scales"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Scales:
    """What differs between channels; see :class:`hwgen.requantise.Requantisation`.

    Parameters
    ----------
    mult, offset
        (channels,) integers.
    fixes
        (n, 3) integers: channel, accumulator, what to add there.
    rounding
        Where the hardware is programmable; None: the parameters'.
    """

    mult: np.ndarray
    offset: np.ndarray
    fixes: np.ndarray = field(default_factory=lambda: np.zeros((0, 3), np.int64))
    rounding: Rounding | None = None


@dataclass(frozen=True, kw_only=True)
class RequantParams:
    """``y = clip(round_half_even(mult[c] * x + offset[c], shift, window, odd) + fixes, lo, hi)`` for each channel c.

    Parameters
    ----------
    accumulator, output
        Types of x and y.
    vectors, groups, channels
        A frame has ``vectors`` vectors of ``groups`` groups of ``channels`` channels.
    pe
        Accumulators in an input word. A group takes ``folds`` words; surplus positions of the last are ignored.
    lanes
        Elements of an output word, and multipliers. Divides ``channels``, and ``pe`` where a group takes several words.
    steps
        Cycles for each output word; each adds ``digit`` bits of the multiplier.
    mult, offset
        Types of the contents; ``mult`` unsigned, ``offset`` signed.
    shift, window, odd
        Rounding, as in :func:`hwgen.arith.round_half_even`.
    lo, hi
        Rounding of y.
    fixes
        How many single (channel, accumulator) pairs are corrected.
    uniform
        Whether all channels have the same ``mult`` and ``offset``, which then need no memory.
    programmable
        Whether scales are in block RAM in any case, and rounding, limits and fixes are settings, in the contents; ``window``
        is the least there may be then, and ``odd``, ``lo``, ``hi`` don't matter.
    """

    accumulator: IntType
    output: IntType
    vectors: int
    groups: int
    channels: int
    pe: int
    lanes: int
    steps: int
    mult: IntType
    offset: IntType
    shift: int
    window: int
    odd: int
    lo: int
    hi: int
    fixes: int = 0
    uniform: bool = False
    programmable: bool = False

    def __post_init__(self) -> None:
        check_counts(self, "vectors", "groups", "channels", "pe", "lanes", "steps")
        if self.channels % self.lanes:
            raise ValueError(f"lanes must divide {self.channels} (channels), not be {self.lanes!r}")
        if self.folds > 1 and self.pe % self.lanes:
            raise ValueError(f"lanes must divide {self.pe} (pe), not be {self.lanes!r}")
        if self.mult.signed:
            raise ValueError(f"mult must be unsigned, not {self.mult}")
        if not self.offset.signed:
            raise ValueError(f"offset must be signed, not {self.offset}")
        if self.steps > self.mult.bits:
            raise ValueError(f"steps must be at most the bits of mult ({self.mult.bits}), not {self.steps}")
        check_rounding(self, 62)
        lo, hi = self._ranges()[-1]
        if max(-lo, hi) >> 62:
            raise ValueError(f"mult * accumulator + offset must be within 2**62, not {lo}..{hi}")

    @property
    def inputs(self) -> tuple[Stream, ...]:
        return (Stream(element=self.accumulator, lanes=self.pe, words=self.vectors * self.groups * self.folds),)

    @property
    def outputs(self) -> tuple[Stream, ...]:
        return (Stream(element=self.output, lanes=self.lanes, words=self.vectors * self.rows),)

    @property
    def folds(self) -> int:
        """Input words of a group."""
        return -(-self.channels // self.pe)

    @property
    def kept(self) -> int:
        """Accumulators of an input word that are used."""
        return min(self.pe, self.channels)

    @property
    def rows(self) -> int:
        """Output words of a vector: words of the memory of scales."""
        return self.groups * self.channels // self.lanes

    @property
    def digit(self) -> int:
        """Bits of ``mult`` used in one step."""
        return -(-self.mult.bits // self.steps)

    @property
    def levels(self) -> int:
        """Registers from accumulator and digit to their product."""
        return product_stages(IntType(self.digit, False))

    @property
    def latency(self) -> int:
        """Cycles from a word's last step to its output: memory, digit, adders, accumulation, quotient, rounding, clamp."""
        return 6 + self.levels

    @property
    def scales_in_bram(self) -> bool:
        return self.programmable or (not self.uniform and self.rows > LOGIC_DEPTH)

    @property
    def waits(self) -> int:
        """Registers between the memory of scales and an offset's adder: its row is read until the word's last step begins."""
        if not self.programmable and (self.uniform or self.rows == 1):
            return 0  # a constant
        return max(int(self.scales_in_bram), self.levels + 2 - self.steps)

    @property
    def begun(self) -> int:
        """Output words at most that have begun and not been taken: none waits if each is taken at once."""
        return 1 - -self.latency // self.steps

    def _ranges(self) -> list[tuple[int, int]]:
        """What the running sum may be after each step, in units of that step; the last: ``mult * accumulator + offset``."""
        digit = (1 << self.digit) - 1
        lo, hi = self.offset.min << self.digit, self.offset.max << self.digit
        ranges = []
        for _ in range(self.steps):
            lo, hi = (lo >> self.digit) + digit * self.accumulator.min, (hi >> self.digit) + digit * self.accumulator.max
            ranges.append((lo, hi))
        low = self.digit * (self.steps - 1)
        return [*ranges, (lo << low, (hi + 1 << low) - 1)]

    @property
    def total(self) -> IntType:
        """The running sum."""
        return IntType.holding(min(r[0] for r in self._ranges()[:-1]), max(r[1] for r in self._ranges()[:-1]))

    @property
    def quotient(self) -> IntType:
        lo, hi = self._ranges()[-1]
        return IntType.holding(min(lo >> self.shift, -1), max(hi >> self.shift, 0))

    def checked(self, contents: Scales) -> Scales:
        """The contents as int64; ``ValueError`` unless they are what the parameters say."""
        shape = (self.groups * self.channels,)
        values: dict[str, np.ndarray] = {}
        for name, element in (("mult", self.mult), ("offset", self.offset)):
            values[name] = value = np.asarray(getattr(contents, name), np.int64)
            if value.shape != shape:
                raise ValueError(f"{name} must have shape {shape}, not {value.shape}")
            if value.min() < element.min or value.max() > element.max:
                raise ValueError(f"{name} must be {element}, not in {value.min()}..{value.max()}")
            if self.uniform and value.min() < value.max():
                raise ValueError(f"{name} must be the same for all channels, not in {value.min()}..{value.max()}")
        fixes = np.asarray(contents.fixes, np.int64)
        if fixes.shape != (self.fixes, 3):
            raise ValueError(f"fixes must have shape {(self.fixes, 3)}, not {fixes.shape}")
        if self.fixes and not 0 <= fixes[:, 0].min() <= fixes[:, 0].max() < shape[0]:
            raise ValueError(f"fixes must be of channels 0..{shape[0] - 1}, not {fixes[:, 0].min()}..{fixes[:, 0].max()}")
        return Scales(**values, fixes=fixes, rounding=contents.rounding)

    def settings(self, contents: Scales) -> tuple[Setting, ...]:
        """Parity, limits, and where each fix lies and what it adds; none unless ``programmable``."""
        if not self.programmable:
            return ()
        found = [*rounding_of(self, contents.rounding).settings(self)]
        row, lane = (IntType(max(1, (n - 1).bit_length()), False) for n in (self.rows, self.lanes))
        for n, (channel, value, delta) in enumerate(contents.fixes.tolist()):
            found += [
                Setting(name=f"row_{n}", element=row, value=channel // self.lanes),
                Setting(name=f"lane_{n}", element=lane, value=channel % self.lanes),
                Setting(name=f"accumulator_{n}", element=self.accumulator, value=value),
                Setting(name=f"delta_{n}", element=DELTA, value=delta),
            ]
        return tuple(found)

    def compute(self, x: Words, contents: Scales) -> Words:
        scales = self.checked(contents)
        vectors = x.reshape(-1, self.groups, self.folds * self.pe)[:, :, : self.channels]
        acc = vectors.reshape(-1, self.groups * self.channels).astype(np.int64, copy=False)
        rounding = rounding_of(self, scales.rounding)
        y = round_half_even(acc * scales.mult + scales.offset, self.shift, rounding.window, rounding.odd)
        for channel, value, delta in scales.fixes:
            y[:, channel] += delta * (acc[:, channel] == value)
        return clamp(y, rounding.lo, rounding.hi).reshape(-1, self.lanes)

    def _word(self, k: Any) -> Any:
        """The input word that output word ``k`` comes from."""
        group, position = np.divmod(k, self.channels // self.lanes)
        return group * self.folds + position * self.lanes // self.pe

    def departures(self, arrivals: np.ndarray) -> np.ndarray:
        jobs = np.arange(len(arrivals) // self.inputs[0].words * self.outputs[0].words)
        return serve(arrivals[self._word(jobs)] + 1, self.steps) + self.steps - 1 + self.latency

    def needed(self, k: Any, port: int = 0) -> Any:
        return self._word(k) + 1

    def accepted(self, k: Any, port: int = 0) -> Any:
        """The word in the holding register: of the output that has no room yet."""
        return self._word(k + self.begun) + 1

    def _product(self) -> Resources:
        """Of accumulator and digit. Of a multiplier that is always the same, half of the bits are 0, as a rule."""
        fixed = self.uniform and self.steps == 1
        return product_resources(self.accumulator, IntType(-(-self.digit // 2) if fixed else self.digit, False))

    def cost(self, memories: Memories = BLOCKS_18K) -> Cost:
        """Modelled, for each lane: the adders, the running sum (twice, as it starts anew), rounding, clamp, spare place;
        registers as written, those of bits that nothing reads left out.

        Scales of up to ``LOGIC_DEPTH`` words are logic, equal columns made once; more are block RAM. Settings are compared with
        what varies: limits with the quotient, fixes with accumulator and row.
        """
        acc, total, quotient, serial = self.accumulator.bits, self.total.bits, self.quotient.bits, self.steps > 1
        product, output = self._product(), self.output.bits
        lut = product.lut + even(total) + clamp_luts(quotient, self.output, self.lo, self.hi)
        lut += total * (not self.uniform) + self.mult.bits - self.digit if serial else 0
        ff = product.ff + 2 * acc + total + 2 * quotient
        if serial:
            ff += max(0, self.digit * (self.steps - 1) - (self.shift if self.window < 0 else self.window))
        if self.window >= 0:
            lut, ff = lut + even(quotient) + (self.shift - self.window) // 3 + 2, ff + 2
        lut, ff = self.lanes * lut, self.lanes * ff
        if self.kept > self.lanes:
            lut += (self.kept - self.lanes) * acc
        fix = self.rows.bit_length() + acc
        lut += self.fixes * (self.lanes * (2 * fix // 3 + 2) if self.programmable else fix // 3 + 2)
        ff += self.kept * acc + self.fixes * (self.levels + 2) * (self.lanes if self.programmable else 1)
        if self.programmable:
            lut += self.lanes * (2 * even(quotient) + output + WINDOWS // 2)
            ff += 2 + WINDOWS + 2 * output + self.fixes * (fix + DELTA.bits + self.lanes.bit_length())
        lut += 2 * (self.rows.bit_length() + self.steps.bit_length() + self.folds.bit_length() + self.pe.bit_length()) + 6
        ff += sum((n - 1).bit_length() for n in (self.rows, self.steps, self.folds, self.kept)) + 3 * self.levels + 12
        resources = Resources(lut=lut, ff=ff) + self._scales(memories)
        resources += collected(self.lanes * output, self.begun, memories)
        return Cost(cycles=self.outputs[0].words * self.steps, resources=resources)

    def _scales(self, memories: Memories) -> Resources:
        """The memory of scales and what holds its words on their way."""
        mult, offset = self.lanes * self.mult.bits, self.lanes * self.offset.bits
        if not self.programmable and (self.uniform or self.rows == 1):
            return Resources(ff=mult if self.steps > 1 else 0)
        if self.scales_in_bram:
            return memories.large(self.rows, mult + offset) + Resources(ff=mult + offset * self.waits)
        columns = distinct(mult + offset, self.rows)
        waiting = distinct(offset, self.rows) * self.waits + (mult if self.steps > 1 else distinct(mult, self.rows))
        return Resources(lut=logic_memory(columns, self.rows), ff=columns + waiting)

    def create(self, contents: Scales) -> "Requant":
        return Requant(self, self.checked(contents))


class Requant(Configurable):
    """Hardware for :class:`RequantParams`.

    A holding register feeds ``lanes`` accumulators at a time, ``steps`` cycles each, into a pipeline: scales from memory;
    sums of the accumulator gated by each bit of a digit; running sum that starts with the offset and moves down by a digit
    in each step; quotient; rounding and fixes; clamp; :func:`hwgen.templates.pieces.collect`. The pipeline never stands still:
    an output word's steps begin where it has room behind it.

    Members
    -------
    i, o : streams of ``params.inputs``, ``params.outputs``
    """

    def __init__(self, params: RequantParams, scales: Scales):
        self.params, self.scales = params, scales
        members = {"i": In(params.inputs[0].signature), "o": Out(params.outputs[0].signature)}
        super().__init__(members, params.settings(scales))

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        p = self.params
        # The holding register: its lowest lanes are in their steps.
        hold = [Signal(p.accumulator.shape, name=f"hold_{n}", reset_less=True) for n in range(p.kept)]
        full, step, row, left = Signal(), Signal(range(p.steps)), Signal(range(p.rows)), Signal(range(p.kept))
        next_full, next_step, next_left = Signal.like(full), Signal.like(step), Signal.like(left)
        first, last = Signal(init=1), Signal(init=p.steps == 1)
        free, changes = Signal(init=1), Signal(init=1)  # if it moves another word may come; what is held changes
        room, go, move = Signal(), Signal(), Signal()
        m.d.comb += [
            go.eq(full & (~first | room)),
            move.eq(~full | room if p.steps == 1 else 1),  # else it is free, or changes, at a word's last step, which just goes
            self.i.ready.eq(move & free),
            next_full.eq(full),
            next_step.eq(step),
            next_left.eq(left),
        ]
        m.d.sync += [
            full.eq(next_full),
            step.eq(next_step),
            left.eq(next_left),
            first.eq(next_step == 0),
            last.eq(next_step == p.steps - 1),
            free.eq(~next_full | ((next_step == p.steps - 1) & (next_left == 0))),
            changes.eq(~next_full | (next_step == p.steps - 1)),
        ]
        with m.If(move & changes):
            shifted = [*hold[p.lanes :], *hold[len(hold) - p.lanes :]]  # the last ones do not matter
            m.d.sync += [a.eq(Mux(free, self.i.payload[n], shifted[n])) for n, a in enumerate(hold)]
        with m.If(go):
            m.d.comb += next_step.eq(Mux(last, 0, step + 1))
            with m.If(last):
                m.d.comb += next_left.eq(left - 1)
                m.d.sync += row.eq(Mux(row == p.rows - 1, 0, row + 1))
        with m.If(self.i.ready):
            m.d.comb += [next_full.eq(self.i.valid), next_left.eq(self._words(m) - 1)]

        # Flags that travel with the pipeline: a step is there, it is a word's first, its last.
        stages = p.levels + 2
        valid, begin, end = (Signal(stages, name=n) for n in ("valid", "begin", "end"))
        ready = Signal(3)  # sum, quotient, result of a word
        m.d.sync += [
            valid.eq(Cat(go, valid)),
            begin.eq(Cat(first, begin)),
            end.eq(Cat(last, end)),
            ready.eq(Cat(valid[-1] & end[-1], ready)),
        ]
        settings = self.set(m)
        lo, hi = (settings.get(name, getattr(p, name)) for name in ("lo", "hi"))

        def tie(total: Value) -> Value:
            fixed = Value.cast(gives_way(total, p.shift, p.window, p.odd))
            return may_give_way(total, p, settings) if settings else fixed

        scales = self._memory(m, row)
        here = delay(m, row, 1, "row") if p.fixes else row
        results = []
        for lane in range(p.lanes):
            acc = delay(m, hold[lane], 1, f"acc_{lane}")
            total = self._multiply(m, lane, acc, scales.word_select(lane, p.mult.bits + p.offset.bits), valid, begin)
            delta = (self._chosen if settings else self._fix)(m, lane, acc, here, settings)
            quotient = delay(m, (total >> p.shift)[: p.quotient.bits].as_signed(), 1, f"quotient_{lane}")
            less = delay(m, Value.cast(tie(total)), 1, f"less_{lane}")
            result = delay(m, quotient - less + delta, 1, f"result_{lane}")
            results.append(clamp(result, lo, hi))
        m.d.comb += room.eq(collect(m, self.o, results, ready[-1], go & first, p.begun))
        return m

    def _words(self, m: Module) -> Any:
        """Output words of the input word that comes next: fewer of the last of a group."""
        p = self.params
        words, rest = p.kept // p.lanes, (p.channels - (p.folds - 1) * p.pe) // p.lanes
        if words == rest:
            return Const(words)
        fold = Signal(range(p.folds))
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += fold.eq(Mux(fold == p.folds - 1, 0, fold + 1))
        return Mux(fold == p.folds - 1, rest, words)

    def _memory(self, m: Module, row: Signal) -> Value:
        """A row of scales, a cycle after its number: for each lane ``mult``, and ``offset`` above it."""
        p = self.params
        bits = p.mult.bits + p.offset.bits
        pairs = zip(self.scales.mult.tolist(), self.scales.offset.tolist(), strict=True)
        entries = [mult | (offset & (1 << p.offset.bits) - 1) << p.mult.bits for mult, offset in pairs]
        words = [sum(e << n * bits for n, e in enumerate(entries[i : i + p.lanes])) for i in range(0, len(entries), p.lanes)]
        if not p.programmable and (p.uniform or p.rows == 1):
            return Const(words[0], unsigned(p.lanes * bits))
        style = {"rom_style": "block" if p.scales_in_bram else "logic"}
        words += [0] * (DEEP - len(words) if p.programmable else 0)
        m.submodules.rom = rom = Memory(shape=unsigned(p.lanes * bits), depth=len(words), init=words, attrs=style)
        port = rom.read_port()
        m.d.comb += port.addr.eq(row)
        return port.data

    def _multiply(self, m: Module, lane: int, acc: Signal, scale: Value, valid: Signal, begin: Signal) -> Value:
        """``mult * acc + offset``, complete one cycle after a word's last step has left the adders."""
        p = self.params
        acc = delay(m, acc, 1, f"operand_{lane}")
        mult = Signal(p.mult.bits, name=f"mult_{lane}", reset_less=True)
        m.d.sync += mult.eq(scale if p.steps == 1 else Mux(begin[0], scale, mult >> p.digit))
        offset = delay(m, scale[p.mult.bits :].as_signed(), p.waits, f"offset_{lane}")

        product = soft_product(m, acc, mult[: p.digit], f"product_{lane}")
        total = Signal(p.total.shape, name=f"total_{lane}", reset_less=True)
        if p.steps == 1:
            m.d.sync += total.eq(product + offset)
            return total
        low = Signal(p.digit * (p.steps - 1), name=f"low_{lane}", reset_less=True)
        with m.If(valid[-1]):
            m.d.sync += [
                total.eq(Mux(begin[-1], offset, total >> p.digit) + product),
                low.eq(Cat(low, total[: p.digit])[p.digit :]),
            ]
        return Cat(low, total).as_signed()

    def _chosen(self, m: Module, lane: int, acc: Signal, row: Signal, settings: dict[str, Value]) -> Any:
        """What the settings say is to be added to the quotient of ``acc``: at most one fix is for it."""
        p = self.params
        delta: Any = Const(0, DELTA.bits)
        for n in range(p.fixes):
            here = (settings[f"row_{n}"] == row) & (settings[f"lane_{n}"] == lane)
            hit = delay(m, (settings[f"accumulator_{n}"] == acc) & here, p.levels + 2, f"fix_{n}_{lane}")
            delta = delta | Mux(hit, settings[f"delta_{n}"].as_unsigned(), 0)
        return delay(m, delta[: DELTA.bits], 1, f"delta_{lane}").as_signed()

    def _fix(self, m: Module, lane: int, acc: Signal, row: Signal, settings: dict[str, Value]) -> Any:
        """What the contents say, as logic."""
        p = self.params
        delta = Const(0)
        for n, (channel, value, change) in enumerate(self.scales.fixes.tolist()):
            if channel % p.lanes == lane:
                hit = delay(m, (acc == value) & (row == channel // p.lanes), p.levels + 3, f"fix_{n}")
                delta = delta + Mux(hit, change, 0)
        return delta
