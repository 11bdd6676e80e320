"""Sum of two quantised tensors with differing scales, exactly as ONNX Runtime rounds it.

Two tables hold each operand's contribution in fixed point; their sum is rounded and clamped. The entries are free
integers, bound only by the 65,536 results that must come out, so few fractional bits suffice (5 to 8 are usual).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from amaranth import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..arith import IntType, clamp, gives_way, round_half_even
from ..cost import BLOCKS_18K, Cost, Memories, Resources, even
from ..errors import HwgenError
from ..graph import QuantType
from ..streams import Stream, Words, serve
from .pair_table import PairTableContents, PairTableParams
from .pieces import check_counts, check_rounding, clamp_luts, collect, collected, delay
from .settings import DELTA, FIXES, WINDOWS, Configurable, Rounding, Setting, may_give_way, rounding_of

__all__ = ["Add", "AddParams", "AddTables", "add_block", "add_reference", "programmable_add"]

_FAR = 1 << 40  # beyond every level
_MAX_SHIFT = 20
_ROUNDS = 128  # of relaxation; solutions take 1 to 50
_MAX_FIXES = 256


@dataclass(frozen=True, kw_only=True, eq=False)
class AddTables:
    """What the memories hold.

    Parameters
    ----------
    a, b
        (2**bits,) integers: contribution of the operand ``type.min + index``.
    fixes
        (n, 3) integers: operand a, operand b, what to add to the result there.
    rounding
        Where the hardware is programmable; None: the parameters'.
    """

    a: np.ndarray = field(repr=False)
    b: np.ndarray = field(repr=False)
    fixes: np.ndarray = field(default_factory=lambda: np.zeros((0, 3), np.int64), repr=False)
    rounding: Rounding | None = None


@dataclass(frozen=True, kw_only=True)
class AddParams:
    """``y = clip(round_half_even(A[a] + B[b], shift, window, odd) + fixes, lo, hi)`` for each element. One word per cycle.

    Parameters
    ----------
    a, b, output
        Types of the operands (at most 9 bits) and of the result.
    lanes, words
        Of all three streams.
    term
        Type of the tables' entries.
    shift, window, odd
        Rounding, as in :func:`hwgen.arith.round_half_even`.
    lo, hi
        Rounding of y.
    fixes
        How many pairs of operands are corrected.
    programmable
        Whether rounding, limits and fixes are settings, part of the contents; ``window`` is the least there may be then, and
        ``odd``, ``lo``, ``hi`` don't matter.
    """

    a: IntType
    b: IntType
    output: IntType
    lanes: int
    words: int
    term: IntType
    shift: int
    window: int
    odd: int
    lo: int
    hi: int
    fixes: int = 0
    programmable: bool = False

    def __post_init__(self) -> None:
        check_counts(self, "lanes", "words")
        if max(self.a.bits, self.b.bits) > 9:
            raise ValueError(f"a and b must have at most 9 bits, not {self.a} and {self.b}")
        if self.term.bits > 61:
            raise ValueError(f"term must have at most 61 bits, not {self.term}")
        check_rounding(self, 60)

    @property
    def inputs(self) -> tuple[Stream, ...]:
        return tuple(Stream(element=t, lanes=self.lanes, words=self.words) for t in (self.a, self.b))

    @property
    def outputs(self) -> tuple[Stream, ...]:
        return (Stream(element=self.output, lanes=self.lanes, words=self.words),)

    @property
    def plain(self) -> bool:
        """Whether the quotient is the sum's upper bits as they are."""
        return self.window < 0 and not self.fixes

    @property
    def latency(self) -> int:
        """Cycles: memory, its output register, sum, rounding unless plain, clamp."""
        return 4 if self.plain else 5

    @property
    def begun(self) -> int:
        """Words at most that have been taken in and not out: none waits if each goes out at once, with one to spare."""
        return self.latency + 2

    def checked(self, contents: AddTables) -> AddTables:
        """The contents as int64; ``ValueError`` unless they are what the parameters say."""
        tables = {}
        for name, operand in (("a", self.a), ("b", self.b)):
            tables[name] = table = np.asarray(getattr(contents, name), np.int64)
            if table.shape != (1 << operand.bits,):
                raise ValueError(f"table {name} must have shape ({1 << operand.bits},), not {table.shape}")
            if table.min() < self.term.min or table.max() > self.term.max:
                raise ValueError(f"table {name} must be {self.term}, not in {table.min()}..{table.max()}")
        fixes = np.asarray(contents.fixes, np.int64)
        if fixes.shape != (self.fixes, 3):
            raise ValueError(f"fixes must have shape {(self.fixes, 3)}, not {fixes.shape}")
        return AddTables(**tables, fixes=fixes, rounding=contents.rounding)

    def settings(self, contents: AddTables) -> tuple[Setting, ...]:
        """Parity, limits, and which operands each fix is for and what it adds; none unless ``programmable``."""
        if not self.programmable:
            return ()
        found = [*rounding_of(self, contents.rounding).settings(self)]
        for n, (a, b, delta) in enumerate(contents.fixes.tolist()):
            found += [
                Setting(name=f"a_{n}", element=self.a, value=a),
                Setting(name=f"b_{n}", element=self.b, value=b),
                Setting(name=f"delta_{n}", element=DELTA, value=delta),
            ]
        return tuple(found)

    def compute(self, a: Words, b: Words, contents: AddTables) -> Words:
        tables = self.checked(contents)
        rounding = rounding_of(self, tables.rounding)
        terms = tables.a[a - self.a.min] + tables.b[b - self.b.min]
        y = round_half_even(terms, self.shift, rounding.window, rounding.odd)
        for at_a, at_b, delta in tables.fixes:
            y = y + delta * ((a == at_a) & (b == at_b))
        return clamp(y, rounding.lo, rounding.hi)

    def departures(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return serve(np.maximum(a, b)) + self.latency

    def needed(self, k: Any, port: int = 0) -> Any:
        return k + 1

    def accepted(self, k: Any, port: int = 0) -> Any:
        return k + self.begun

    def cost(self, memories: Memories = BLOCKS_18K) -> Cost:
        """Modelled: both tables of a lane share block RAM with two ports, which has the registers behind them, too; adder,
        rounding, clamp. Bits of the sum below those that count have no register.
        """
        term, quotient = self.term.bits, self.term.bits + 1 - self.shift
        lut = even(term + 1) + clamp_luts(quotient, self.output, self.lo, self.hi)
        ff = term + 1 - (self.shift if self.window < 0 else self.window)
        if not self.plain:
            lut, ff = lut + even(quotient) + (self.shift - self.window) // 3 + 2, ff + quotient
        fix = self.a.bits + self.b.bits
        lut += self.fixes * (2 * fix if self.programmable else fix) // 3 + 2 * self.fixes
        if self.programmable:
            lut += 2 * even(quotient) + self.output.bits + WINDOWS // 2
        settings = 2 + WINDOWS + 2 * self.output.bits + self.fixes * (fix + DELTA.bits)
        resources = Resources(
            lut=self.lanes * lut + 24,
            ff=self.lanes * (ff + self.fixes * (self.latency - 2)) + self.latency + self.programmable * settings,
            bram=self.lanes * memories.blocks(2 << max(self.a.bits, self.b.bits), term, reads=2),
        )
        resources += collected(self.lanes * self.output.bits, self.begun, memories)
        return Cost(cycles=self.words, resources=resources)

    def create(self, contents: AddTables) -> "Add":
        return Add(self, self.checked(contents))


class Add(Configurable):
    """Hardware for :class:`AddParams`.

    Members
    -------
    i0, i1, o : streams of ``params.inputs``, ``params.outputs``
    """

    def __init__(self, params: AddParams, tables: AddTables):
        self.params, self.tables = params, tables
        i0, i1 = (In(s.signature) for s in params.inputs)
        super().__init__({"i0": i0, "i1": i1, "o": Out(params.outputs[0].signature)}, params.settings(tables))

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        p = self.params
        valid = Signal(p.latency - 1)
        room, both = Signal(), Signal()
        m.d.comb += [
            self.i0.ready.eq(room & self.i1.valid),
            self.i1.ready.eq(room & self.i0.valid),
            both.eq(room & self.i0.valid & self.i1.valid),
        ]
        m.d.sync += valid.eq(Cat(both, valid))

        # Table a, then table b, addressed by the operands' bits (negative ones last).
        half = 1 << max(p.a.bits, p.b.bits)
        init = [0] * (2 * half)
        for start, operand, table in ((0, p.a, self.tables.a), (half, p.b, self.tables.b)):
            init[start : start + len(table)] = np.roll(table, operand.min).tolist()
        m.submodules.rom = rom = Memory(shape=p.term.shape, depth=len(init), init=init, attrs={"rom_style": "block"})

        settings = self.set(m)
        lo, hi = (settings.get(name, getattr(p, name)) for name in ("lo", "hi"))

        def tie(total: Value) -> Value:
            fixed = Value.cast(gives_way(total, p.shift, p.window, p.odd))
            return may_give_way(total, p, settings) if settings else fixed

        results = []
        for lane in range(p.lanes):
            terms = []
            for name, start, payload in (("a", 0, self.i0.payload), ("b", half, self.i1.payload)):
                port = rom.read_port()
                m.d.comb += port.addr.eq(payload[lane].as_unsigned() | start)
                terms.append(delay(m, port.data, 1, f"{name}_{lane}"))
            total = delay(m, terms[0] + terms[1], 1, f"total_{lane}")
            quotient: Any = total >> p.shift
            if not p.plain:
                delta = (self._chosen if settings else self._fix)(m, lane, settings)
                less = tie(total)
                quotient = delay(m, quotient - less + delta, 1, f"result_{lane}")
            results.append(clamp(quotient, lo, hi))
        m.d.comb += room.eq(collect(m, self.o, results, valid[-1], both, p.begun))
        return m

    def _chosen(self, m: Module, lane: int, settings: dict[str, Value]) -> Any:
        """What the settings say is to be added to the quotient, when the sum is there; no two fixes are for one pair."""
        delta: Any = Const(0, DELTA.bits)
        for n in range(self.params.fixes):
            hit = (self.i0.payload[lane] == settings[f"a_{n}"]) & (self.i1.payload[lane] == settings[f"b_{n}"])
            chosen = Mux(delay(m, hit, 2, f"fix_{n}_{lane}"), settings[f"delta_{n}"].as_unsigned(), 0)
            delta = delta | chosen
        return delay(m, delta[: DELTA.bits], 1, f"delta_{lane}").as_signed()

    def _fix(self, m: Module, lane: int, settings: dict[str, Value]) -> Any:
        """What the contents say, as logic."""
        delta: Any = Const(0)
        for n, (a, b, change) in enumerate(self.tables.fixes.tolist()):
            hit = (self.i0.payload[lane] == a) & (self.i1.payload[lane] == b)
            delta = delta + Mux(delay(m, hit, 3, f"fix_{n}_{lane}"), change, 0)
        return delta


def _fused(x: Any, y: Any, z: Any) -> np.ndarray:
    """float32 ``x * y + z``, rounded once.

    The product is exact in float64. The sum is rounded to odd there (Boldo and Melquiond, 2008), after which rounding to
    float32 is as if from the exact sum.
    """
    product, addend = np.broadcast_arrays(np.asarray(x, np.float64) * np.asarray(y, np.float64), np.asarray(z, np.float64))
    total = product + addend
    back = total - product
    error = (product - (total - back)) + (addend - back)
    bits = total.view(np.int64)
    to_odd = np.where((error != 0) & (bits & 1 == 0), np.where((error > 0) == (total > 0), 1, -1), 0)
    return (bits + to_odd).view(np.float64).astype(np.float32)


def add_reference(a: QuantType, b: QuantType, y: QuantType, lo: int, hi: int) -> np.ndarray:
    """ONNX Runtime's sums of all pairs of operands, clamped: int64 (2**a.bits, 2**b.bits), from the least operands on.

    Where all three types are equal its kernel QLinearAdd runs, with fused multiply-adds that include the zero point; else
    it dequantises, adds and quantises in float32.
    """
    xa, xb = (np.arange(t.integer.min, t.integer.max + 1) for t in (a, b))
    sa, sb, sy = (np.float32(t.scale) for t in (a, b, y))
    with np.errstate(over="ignore", invalid="ignore"):
        if a.integer == b.integer == y.integer:
            ra, rb = sa / sy, sb / sy
            c = np.float32(y.zero_point) - _fused(ra, a.zero_point, rb * np.float32(b.zero_point))
            rounded = np.rint(_fused(xa[:, None], ra, _fused(xb, rb, c)))
        else:
            real = ((xa - a.zero_point).astype(np.float32) * sa)[:, None] + (xb - b.zero_point).astype(np.float32) * sb
            rounded = np.rint(real / sy).astype(np.float64) + y.zero_point
    if np.isnan(rounded).any():
        raise HwgenError(f"scales {a.scale}, {b.scale} and {y.scale} are too far apart to add in float32")
    return np.clip(rounded, lo, hi).astype(np.int64)


def add_block(
    a: QuantType, b: QuantType, y: QuantType, lo: int, hi: int, *, lanes: int, words: int
) -> tuple[AddParams, AddTables] | tuple[PairTableParams, PairTableContents]:
    """Hardware for the sum of streams of types ``a`` and ``b``, equal to :func:`add_reference` for every pair.

    The least ``shift`` for which tables exist, without a window for ties if possible; a table of all pairs where more than 256
    of them would have to be corrected.
    """
    want = add_reference(a, b, y, lo, hi)
    shift, window, odd, at, bt = _solve(a, b, y, lo, hi, want)
    at, bt = _balance(at, bt)
    terms = np.concatenate([at, bt])
    quotient = round_half_even(at[:, None] + bt, shift, window, odd)
    wrong = np.argwhere(clamp(quotient, lo, hi) != want)
    if len(wrong) > _MAX_FIXES:
        table = PairTableParams(a=a.integer, b=b.integer, output=y.integer, lanes=lanes, words=words)
        return table, PairTableContents(values=want)
    delta = (want - quotient)[tuple(wrong.T)]
    fixes = np.stack([wrong[:, 0] + a.integer.min, wrong[:, 1] + b.integer.min, delta], axis=1)
    params = AddParams(
        a=a.integer, b=b.integer, output=y.integer, lanes=lanes, words=words,
        term=IntType.holding(min(-1, int(terms.min())), int(terms.max())),
        shift=shift, window=window, odd=odd, lo=lo, hi=hi, fixes=len(fixes),
    )  # fmt: skip
    return params, AddTables(a=at, b=bt, fixes=fixes)


def programmable_add(
    node: str,
    a: QuantType,
    b: QuantType,
    y: QuantType,
    lo: int,
    hi: int,
    least: AddParams | PairTableParams,
    earlier: Mapping[str, Any] | None,
) -> tuple[AddParams, AddTables] | tuple[PairTableParams, PairTableContents]:
    """Hardware like ``least`` that takes other scales too, with two fractional bits more.

    ``earlier``: parameters of hardware that must do; ``HwgenError`` where it does not.
    """
    want = add_reference(a, b, y, lo, hi)
    if isinstance(least, PairTableParams) if earlier is None else "term" not in earlier:
        table = PairTableParams(a=a.integer, b=b.integer, output=y.integer, lanes=least.lanes, words=least.words)
        return table, PairTableContents(values=want)
    if earlier is not None:
        shifts, room = [earlier["shift"]], 0
    else:
        assert isinstance(least, AddParams)
        shifts, room = list(range(least.shift + 2, _MAX_SHIFT)), 1
    for shift in shifts:
        odd, at, bt = _near(a, b, y, shift)
        tries = ((w, _tables(want, lo, hi, shift, w, odd, at, bt)) for w in (-1, *range(min(WINDOWS, shift))))
        window, tables = next(((w, found) for w, found in tries if found is not None), (-1, (at, bt)))
        at, bt = _balance(*tables)
        quotient = round_half_even(at[:, None] + bt, shift, window, odd)
        wrong = np.argwhere(clamp(quotient, lo, hi) != want)
        if len(wrong) > FIXES:
            continue
        terms = np.concatenate([at, bt])
        needed = IntType.holding(min(-1, int(terms.min())), int(terms.max()))
        term = IntType(needed.bits + room) if earlier is None else IntType(**earlier["term"])
        if needed.bits > term.bits:
            continue
        fixes = np.zeros((FIXES, 3), np.int64)
        fixes[: len(wrong), :2] = wrong + np.array([a.integer.min, b.integer.min])
        fixes[: len(wrong), 2] = (want - quotient)[tuple(wrong.T)]
        params = AddParams(
            a=a.integer, b=b.integer, output=y.integer, lanes=least.lanes, words=least.words, term=term, shift=shift, window=0,
            odd=0, lo=y.integer.min, hi=y.integer.max, fixes=FIXES, programmable=True,
        )  # fmt: skip
        return params, AddTables(a=at, b=bt, fixes=fixes, rounding=Rounding(window=window, odd=odd, lo=lo, hi=hi))
    if earlier is not None:
        raise HwgenError(f"{node}: its scales are out of reach of the earlier build's adder; build it anew")
    raise HwgenError(f"{node}: its scales need more than {FIXES} corrections; build it without --retrainable")


def _near(a: QuantType, b: QuantType, y: QuantType, shift: int) -> tuple[int, np.ndarray, np.ndarray]:
    """Parity of a quotient that gives way, and tables with half a unit added, each entry rounded."""
    fused = a.integer == b.integer == y.integer
    odd = 1 if fused else 1 - y.zero_point % 2  # the zero point is added before rounding, or after it
    unit = 2.0**shift / y.scale
    xs = (np.arange(t.integer.min, t.integer.max + 1) - t.zero_point for t in (a, b))
    at, bt = (np.rint(np.clip(x * t.scale * unit, -_FAR, _FAR)).astype(np.int64) for x, t in zip(xs, (a, b), strict=True))
    return odd, at + (y.zero_point << shift) + (1 << shift >> 1), bt


def _solve(
    a: QuantType, b: QuantType, y: QuantType, lo: int, hi: int, want: np.ndarray
) -> tuple[int, int, int, np.ndarray, np.ndarray]:
    """Shift, window, odd and both tables; the last tried, with half a unit added, where no shift has exact ones."""
    odd, at, bt = 0, np.zeros(0, np.int64), np.zeros(0, np.int64)
    for shift in range(_MAX_SHIFT):
        odd, at, bt = _near(a, b, y, shift)
        for window in (-1, *range(shift)):
            found = _tables(want, lo, hi, shift, window, odd, at, bt)
            if found is not None:
                return shift, window, odd, *found
    return shift, -1, odd, at, bt


def _tables(
    want: np.ndarray, lo: int, hi: int, shift: int, window: int, odd: int, at: np.ndarray, bt: np.ndarray
) -> tuple[np.ndarray, np.ndarray] | None:
    """Tables near ``at`` and ``bt`` whose sums round to ``want``; None if there are none.

    The sum for each pair must lie between two levels: difference constraints between ``at`` and ``-bt``, relaxed as
    Bellman and Ford do, all at a time.
    """
    outputs = np.arange(lo, hi + 2)
    levels = (outputs << shift) + np.where((outputs & 1 == odd) & (window >= 0), 1 << max(window, 0), 0)
    least = np.where(want > lo, levels[want - lo], -_FAR * 4)
    most = np.where(want < hi, levels[want - lo + 1] - 1, _FAR * 4)
    u = -bt
    for _ in range(_ROUNDS):
        new_at = np.minimum(at, (u + most).min(1))
        new_u = np.minimum(u, (new_at[:, None] - least).min(0))
        if (new_at == at).all() and (new_u == u).all():
            return at, -u
        at, u = new_at, new_u
    return None


def _balance(at: np.ndarray, bt: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The same sums with the narrowest entries: a constant moved from one table to the other."""
    moves = [
        int(at.max() + at.min() - bt.max() - bt.min()) // 4,
        int(at.max() + at.min()) // 2,
        -int(bt.max() + bt.min()) // 2,
        0,
    ]
    move = min(moves, key=lambda n: max(abs(at - n).max(), abs(bt + n).max()))
    return at - move, bt + move
