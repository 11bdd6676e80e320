"""Residual add: two streams of differing scales, summed as ONNX Runtime does, from tables of exact fixed-point terms."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from amaranth import Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..arith import IntType, clamp, round_half_even
from ..cost import Cost, Resources, bram_blocks
from ..graph import QuantType
from ..streams import Stream, Words, serve

__all__ = ["Add", "AddParams", "AddTables", "add_tables", "reference"]

MAX_SHIFT = 32  #: fraction bits tried; float32 has 24


@dataclass(frozen=True, kw_only=True, eq=False)
class AddTables:
    """What :class:`Add` looks up.

    Parameters
    ----------
    a, b
        (256,) the term of element x at ``x - type.min``; zero points and rounding offset are in ``b``.
    fixes
        (n, 3) pairs of elements a, b that get ``delta`` on top.
    """

    a: np.ndarray
    b: np.ndarray
    fixes: np.ndarray = field(default_factory=lambda: np.zeros((0, 3), np.int64))


@dataclass(frozen=True, kw_only=True)
class AddParams:
    """``y = clip(round_half_even(table_a[a] + table_b[b], shift, window, odd=1) + fix, lo, hi)``.

    Parameters
    ----------
    a, b, output
        Element types of the inputs and the output; 8 bits.
    lanes, words
        Of all three streams.
    term
        Type of the tables' entries.
    shift, window
        Rounding, as :func:`hwgen.arith.round_half_even` has it.
    lo, hi
        Limits of y.
    fixes
        How many pairs (a, b) are corrected.
    """

    a: IntType
    b: IntType
    output: IntType
    lanes: int
    words: int
    term: IntType
    shift: int
    window: int
    lo: int
    hi: int
    fixes: int = 0

    def __post_init__(self) -> None:
        for name in ("lanes", "words"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be positive, not {getattr(self, name)!r}")
        for name in ("a", "b"):
            if getattr(self, name).bits != 8:
                raise ValueError(f"{name} must have 8 bits, not {getattr(self, name).bits}")
        if not -1 <= self.window < max(self.shift, 1):
            raise ValueError(f"window must be in -1..{self.shift - 1}, not {self.window!r}")
        if not self.output.min <= self.lo <= self.hi <= self.output.max:
            raise ValueError(f"lo and hi must be an interval of {self.output}, not {self.lo} and {self.hi}")

    @property
    def inputs(self) -> tuple[Stream, ...]:
        return tuple(Stream(element=e, lanes=self.lanes, words=self.words) for e in (self.a, self.b))

    @property
    def outputs(self) -> tuple[Stream, ...]:
        return (Stream(element=self.output, lanes=self.lanes, words=self.words),)

    def compute(self, a: Words, b: Words, contents: AddTables) -> Words:
        total = contents.a[a - self.a.min] + contents.b[b - self.b.min]
        y = round_half_even(total, self.shift, self.window, 1)
        for fix_a, fix_b, delta in contents.fixes:
            y = y + delta * ((a == fix_a) & (b == fix_b))
        return clamp(y, self.lo, self.hi)

    def departures(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Three registers: table, sum, result."""
        return serve(np.maximum(a, b)) + 3

    def needed(self, k: Any, port: int = 0) -> Any:
        return k + 1

    def accepted(self, k: Any, port: int = 0) -> Any:
        return k + 3

    def cost(self) -> Cost:
        """Two tables of 256 terms, an adder, a decrement and two comparators for each lane; 20 LUTs for each fix."""
        bits = self.term.bits + 1
        lut = self.lanes * (bits + self.shift // 3 + 4 * (bits - self.shift) + 20 * self.fixes) + 6
        ff = self.lanes * (bits + self.output.bits + 18 * bool(self.fixes)) + 3
        bram = 2 * self.lanes * bram_blocks(256, self.term.bits)
        return Cost(cycles=self.words, resources=Resources(lut=lut, ff=ff, bram=bram))

    def create(self, contents: AddTables) -> "Add":
        return Add(self, contents)


def reference(a: QuantType, b: QuantType, y: QuantType, lo: int, hi: int) -> np.ndarray:
    """ONNX Runtime's QLinearAdd for all pairs: (256, 256) int64, entry [i, j] for ``a.integer.min + i``, ``b.integer.min + j``.

    ``rint(fma(a, ra, fma(b, rb, c)))`` in float32 with ``ra = sa/sy``, ``rb = sb/sy``, ``c = zy - fma(ra, za, rb·zb)``.
    """
    f32 = np.float32
    ra, rb = f32(a.scale) / f32(y.scale), f32(b.scale) / f32(y.scale)
    c = f32(y.zero_point) - _fma(ra, f32(a.zero_point), rb * f32(b.zero_point))
    xa = np.arange(a.integer.min, a.integer.max + 1).astype(f32)
    xb = np.arange(b.integer.min, b.integer.max + 1).astype(f32)
    return np.clip(np.rint(_fma(xa[:, None], ra, _fma(xb, rb, c)[None, :])), lo, hi).astype(np.int64)


def _fma(x: Any, y: Any, z: Any) -> Any:
    """float32 ``x·y + z`` rounded once; the product is exact in extended precision, so is nearly every sum."""
    return (np.longdouble(x) * np.longdouble(y) + np.longdouble(z)).astype(np.float32)


def add_tables(
    a: QuantType, b: QuantType, y: QuantType, lo: int, hi: int, *, lanes: int, words: int
) -> tuple[AddParams, AddTables]:
    """The narrowest tables that give :func:`reference` for all 65,536 pairs; what is left over at the best becomes fixes."""
    wanted = reference(a, b, y, lo, hi)
    ra, rb = np.float32(a.scale) / np.float32(y.scale), np.float32(b.scale) / np.float32(y.scale)
    c = np.float32(y.zero_point) - _fma(ra, np.float32(a.zero_point), rb * np.float32(b.zero_point))
    xa, xb = (np.arange(t.integer.min, t.integer.max + 1) for t in (a, b))
    terms_a = xa.astype(np.longdouble) * np.longdouble(ra)
    terms_b = np.longdouble(_fma(xb.astype(np.float32), rb, c))
    best: tuple[int, int, np.ndarray, np.ndarray, np.ndarray] | None = None
    for shift in range(1, MAX_SHIFT):
        for window in range(-1, shift - 1):
            centre = (1 << shift - 1) + (1 << window >> 1 if window >= 0 else 0)
            table_a = np.rint(terms_a * (1 << shift)).astype(np.int64)
            table_b = np.rint(terms_b * (1 << shift)).astype(np.int64) + centre
            got = np.clip(round_half_even(table_a[:, None] + table_b, shift, window, 1), lo, hi)
            wrong = np.argwhere(got != wanted)
            if best is None or len(wrong) < len(best[4]):
                deltas = (wanted - got)[tuple(wrong.T)]
                fixes = np.stack([xa[wrong[:, 0]], xb[wrong[:, 1]], deltas], axis=1).astype(np.int64)
                best = (shift, window, table_a, table_b, fixes)
        if best is not None and not len(best[4]):
            break
    if best is None:
        raise RuntimeError("no shift was tried")
    shift, window, table_a, table_b, fixes = best
    low, high = min(table_a.min(), table_b.min(), -1), max(table_a.max(), table_b.max())
    params = AddParams(
        a=a.integer,
        b=b.integer,
        output=y.integer,
        lanes=lanes,
        words=words,
        term=IntType.holding(int(low), int(high)),
        shift=shift,
        window=window,
        lo=lo,
        hi=hi,
        fixes=len(fixes),
    )
    return params, AddTables(a=table_a, b=table_b, fixes=fixes)


class Add(wiring.Component):
    """Hardware for :class:`AddParams`: one word per cycle.

    Members
    -------
    i0, i1, o : streams of ``params``
    """

    def __init__(self, params: AddParams, contents: AddTables):
        self.params = params
        self.contents = contents
        a, b = params.inputs
        super().__init__({"i0": In(a.signature), "i1": In(b.signature), "o": Out(params.outputs[0].signature)})

    def elaborate(self, platform: Any) -> Module:
        m, p = Module(), self.params
        enable, both = Signal(), Signal()
        m.d.comb += [
            enable.eq(~self.o.valid | self.o.ready),
            both.eq(self.i0.valid & self.i1.valid),
            self.i0.ready.eq(enable & self.i1.valid),
            self.i1.ready.eq(enable & self.i0.valid),
        ]
        looked_up, summed = Signal(), Signal()
        with m.If(enable):
            m.d.sync += [looked_up.eq(both), summed.eq(looked_up), self.o.valid.eq(summed)]
        for lane in range(p.lanes):
            terms = []
            for name, element, port, table in (("a", p.a, self.i0, self.contents.a), ("b", p.b, self.i1, self.contents.b)):
                memory = Memory(shape=p.term.shape, depth=256, init=_by_bits(table, element).tolist())
                m.submodules[f"table_{name}{lane}"] = memory
                read = memory.read_port()
                m.d.comb += [read.addr.eq(port.payload[lane]), read.en.eq(enable)]
                terms.append(read.data)
            total = Signal(IntType(p.term.bits + 1).shape, name=f"total{lane}")
            fix = Signal(IntType(2).shape, name=f"fix{lane}")
            with m.If(enable):
                m.d.sync += total.eq(terms[0] + terms[1])
                rounded = round_half_even(total, p.shift, p.window, 1)
                m.d.sync += self.o.payload[lane].eq(clamp(rounded + fix if p.fixes else rounded, p.lo, p.hi))
            if p.fixes:
                pair = Signal(16, name=f"pair{lane}")
                with m.If(enable):
                    m.d.sync += [pair.eq(Cat(self.i0.payload[lane], self.i1.payload[lane])), fix.eq(0)]
                    for fix_a, fix_b, delta in self.contents.fixes.tolist():
                        with m.If(pair == (fix_a & 255 | (fix_b & 255) << 8)):
                            m.d.sync += fix.eq(delta)
        return m


def _by_bits(table: np.ndarray, element: IntType) -> np.ndarray:
    """The table in the order of the element's bit patterns: for signed types the negative half comes last."""
    return np.roll(table, 128) if element.signed else table
