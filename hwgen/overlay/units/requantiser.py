"""Requantisers of the vector unit: lanes that multiply by a digit of the scale in each cycle."""

from typing import Any

from amaranth import Cat, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ...templates.product import dsp_product, soft_product
from ..engine import SUM_BITS, Engine
from ..exact import MANTISSA, MULT_BITS, TOTAL_BITS
from .words import delayed

__all__ = ["KEPT", "SCALE", "TOTAL", "Lane", "Rounder", "Rounding", "Rules", "latency"]

SCALE = data.StructLayout({"mult": unsigned(MULT_BITS), "offset": signed(64)})
TOTAL = TOTAL_BITS
LOWEST = 8  #: where a quotient begins in the last running sum at the lowest; at 4, 8 or 12 more otherwise
FRACTION = MANTISSA + 2  #: bits below the quotient that decide on a tie, besides whether there are more
NARROW = 10  #: bits of a quotient that are kept, with its sign: one of more is beyond the limits
KEPT = FRACTION - LOWEST  #: bits that are kept below the running sum
MOST = 8  #: bits of a quotient that matter for a tie
#: ``least``, ``most``: ``lo``, ``hi`` before ``zero`` is added
LIMITS = data.StructLayout({"zero": signed(8), "least": signed(9), "most": signed(9)})
ENDS = data.StructLayout({"lo": signed(8), "hi": signed(8)})


#: What the stages of a lane that round are given, each in its own cycle; see :class:`Rules`.
RULES = {"place": In(2), "limits": In(LIMITS), "ends": In(ENDS)}


class Rounding(data.StructLayout):
    """How all lanes round: fields of :class:`~hwgen.overlay.isa.Drain`, and the binary point's place."""

    def __init__(self) -> None:
        super().__init__({"place": 2, "limits": LIMITS, "ends": ENDS})


def latency(engine: Engine) -> int:
    """Cycles from a word's last step to its result."""
    return engine.lane_stages + 1 + 7


class Rules(wiring.Component):
    """The rules of a word's last step, when each stage of the lanes wants them.

    Members
    -------
    of_last_step : given in the cycle of the last step
    place, limits, ends : for :class:`Lane`
    """

    def __init__(self, engine: Engine):
        self.engine = engine
        super().__init__({"of_last_step": In(Rounding()), **{name: member.flip() for name, member in RULES.items()}})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        first = self.engine.lane_stages + 1
        for wait, name, target in (
            (first, "place", self.place),
            (first + 5, "limits", self.limits),
            (first + 6, "ends", self.ends),
        ):
            source = Value.cast(getattr(self.of_last_step, name))
            m.d.comb += Value.cast(target).eq(delayed(m, source, wait, name, reset_less=True))
        return m


class Lane(wiring.Component):
    """One lane: in each step it takes ``engine.digit`` bits of the multiplier.

    Members
    -------
    load, mult : the multiplier of a word whose first step is in the next cycle
    begin : the first step of a word is in this cycle; its others follow
    valid : a step is
    sum : of the word, from its first to its last step
    offset : of the word, ``Engine.lane_stages`` cycles after its first step
    place, limits, ends : of :class:`Rules`
    result : ``latency`` cycles after the last step
    """

    def __init__(self, engine: Engine):
        self.engine = engine
        super().__init__(
            {
                "load": In(1),
                "begin": In(1),
                "valid": In(1),
                "sum": In(signed(SUM_BITS)),
                "mult": In(MULT_BITS),
                "offset": In(signed(64)),
                **RULES,
                "result": Out(signed(8)),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        digit, stages = self.engine.digit, self.engine.lane_stages
        # The digits are the outputs of registers, so that their gates find room in the carry cells of the product.
        mult = Signal(MULT_BITS, reset_less=True)
        m.d.sync += mult.eq(Mux(self.load, self.mult, mult >> digit))
        if self.engine.soft_lanes:
            product = soft_product(m, self.sum, mult[:digit], "product")
        else:
            product = dsp_product(m, self.sum, mult[:digit], "product", stages)
        begin, valid = delayed(m, self.begin, stages, "begin"), delayed(m, self.valid, stages, "valid")

        # The running sum moves down by a digit in each step; of what leaves it the highest bits are kept.
        total = Signal(signed(64), reset_less=True)
        low, more = Signal(KEPT, reset_less=True), Signal(reset_less=True)
        left = Cat(low, total[:digit])
        with m.If(valid):
            m.d.sync += [
                total.eq(Mux(begin, self.offset, total >> digit) + product),
                low.eq(Mux(begin, 0, left[-KEPT:])),
                more.eq(~begin & (more | left[:-KEPT].any())),
            ]
        m.submodules.rounder = rounder = Rounder()
        m.d.comb += [
            rounder.whole.eq(Cat(low, total[:TOTAL])),
            rounder.more.eq(more),
            rounder.place.eq(self.place),
            rounder.limits.eq(self.limits),
            rounder.ends.eq(self.ends),
            self.result.eq(rounder.result),
        ]
        return m


class Rounder(wiring.Component):
    """The end of a lane: a quotient, rounded to a float32 and to an integer, within the limits.

    Members
    -------
    whole : the last running sum, the ``KEPT`` highest bits that have left it before below
    more : whether others that have left it are not 0
    place : of the quotient
    limits, ends : five and six cycles later than the others
    result : seven cycles later
    """

    def __init__(self) -> None:
        super().__init__({"whole": In(KEPT + TOTAL), "more": In(1), **RULES, "result": Out(signed(8))})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        # The quotient's lowest bits, the fraction; whether the quotient has more bits, or the fraction has, in groups of four.
        whole = self.whole
        places = [KEPT + LOWEST + 4 * k for k in range(4)]
        quotient, fraction = Signal(NARROW, reset_less=True), Signal(FRACTION, reset_less=True)
        sign, wide = Signal(reset_less=True), Signal(4, reset_less=True)
        beyond = Signal(4, reset_less=True)
        highest = whole[-1]
        groups = [whole[p + NARROW - 1 : p + NARROW + 3] for p in places[:-1]]
        m.d.sync += [
            quotient.eq(_choose(self.place, [whole[p : p + NARROW] for p in places])),
            fraction.eq(_choose(self.place, [whole[p - FRACTION : p] for p in places])),
            sign.eq(highest),
            wide.eq(
                Cat(
                    *((group != highest.replicate(4)) & (self.place <= k) for k, group in enumerate(groups)),
                    whole[places[-1] + NARROW - 1 :] != highest.replicate(len(whole) - places[-1] - NARROW + 1),
                )
            ),
            beyond.eq(Cat(self.more, *(whole[4 * k : 4 * k + 4].any() & (self.place > k) for k in range(3)))),
        ]
        # A quotient beyond the limits by far is the largest or the least of few bits.
        narrow, less = Signal(signed(NARROW), reset_less=True), Signal(MOST + 1, reset_less=True)
        # Of the fraction the upper bits as a whole, without and with half of those below.
        tail, cuts = Signal(MOST + 2, reset_less=True), (MOST + 2, (MOST + 2) // 2)
        ones, zeros = Signal(2, reset_less=True), Signal(2, reset_less=True)
        rest = Signal(2, reset_less=True)  # whether there are bits below, without and with the other half
        m.d.sync += [
            narrow.eq(Mux(wide.any(), Cat((~sign).replicate(NARROW - 1), sign), quotient)),
            less.eq(quotient[: MOST + 1] - 1),
            tail.eq(fraction[: MOST + 2]),
            ones.eq(Cat(fraction[cut:].all() for cut in cuts)),
            zeros.eq(Cat(~fraction[cut:].any() for cut in cuts)),
            rest.eq(Cat(beyond.any(), beyond.any() | fraction[: cuts[1]].any())),
        ]
        # Whether the fraction is at most 2**-k, at least 1 - 2**-k; for which k that is a tie.
        least, most = Signal(MOST + 2, reset_less=True), Signal(MOST + 2, reset_less=True)
        nearly_zero, nearly_one = Signal(MOST + 1, reset_less=True), Signal(MOST + 1, reset_less=True)
        second, zero = Signal(signed(NARROW), reset_less=True), Signal(reset_less=True)
        for n in range(MOST + 2):
            half = n < cuts[1]
            top, below = cuts[half], tail[:n].any() | rest[0] if half else tail[cuts[1] : n].any() | rest[1]
            m.d.sync += [
                least[n].eq(zeros[half] & ~tail[n + 1 : top].any() & ~(tail[n] & below)),
                most[n].eq(ones[half] & tail[n:top].all()),
            ]
        small = narrow[: MOST + 1]
        m.d.sync += [nearly_zero.eq(_bits(less)), nearly_one.eq(_bits(small)), second.eq(narrow), zero.eq(small == 0)]
        # A float32 has one more bit towards zero from a power of two: 1/2 is the only one that lies halfway.
        above = Mux(zero, least[0], (least[1:] & nearly_zero).any())
        below = Mux(zero, most[0], (most[1:] & nearly_one).any())
        third, move = Signal(signed(NARROW), reset_less=True), Signal(signed(2), reset_less=True)
        m.d.sync += [third.eq(second), move.eq(Mux(second[0], Mux(above, -1, Mux(below, 1, 0)), 0))]
        rounded = Signal(signed(NARROW + 1), reset_less=True)
        m.d.sync += rounded.eq(third + move)
        limits = self.limits
        moved, high, low = Signal(8, reset_less=True), Signal(reset_less=True), Signal(reset_less=True)
        m.d.sync += [moved.eq(rounded + limits.zero), high.eq(rounded > limits.most), low.eq(rounded < limits.least)]
        m.d.sync += self.result.eq(Mux(low, self.ends.lo, Mux(high, self.ends.hi, moved)))
        return m


def _bits(n: Value) -> Value:
    """How many bits a signed number has, without its sign: bit k is 1 where k."""
    sign = n[MOST]
    bits = n[:MOST] ^ sign.replicate(MOST)
    return Cat(*((~bits[k:].any()) & (bits[k - 1] if k else 1) for k in range(MOST + 1)))


def _choose(index: Value, values: list[Value]) -> Value:
    low, high = (Mux(index[0], values[k + 1], values[k]) for k in (0, 2))
    return Mux(index[1], high, low)
