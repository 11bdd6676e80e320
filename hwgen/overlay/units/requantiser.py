"""Requantisers of the vector unit: lanes that multiply by a digit of the scale in each cycle."""

from typing import Any

from amaranth import Cat, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ...arith import IntType
from ...templates.product import product_stages, soft_product
from ..engine import SUM_BITS
from ..exact import FINEST, TOTAL_BITS
from .words import delayed

__all__ = ["SCALE", "Lane", "Rounding", "Rules", "latency"]

SCALE = data.StructLayout({"mult": unsigned(32), "offset": signed(64)})
LOWEST = 8  #: where a quotient begins in it at the lowest; at 4, 8 or 12 more otherwise
FRACTION = FINEST  #: bits below the quotient that can decide on a tie
TOTAL = TOTAL_BITS
QUOTIENT = TOTAL - LOWEST
KEPT = FRACTION - LOWEST  #: bits that are kept below the running sum


TIE = data.StructLayout({"window": 4, "odd": 1})
LIMITS = data.StructLayout({"lo": signed(8), "hi": signed(8)})


class Rounding(data.StructLayout):
    """How all lanes round: fields of :class:`~hwgen.overlay.isa.Drain`, ``place`` = shift - 2 · steps."""

    def __init__(self) -> None:
        super().__init__({"place": 2, "tie": TIE, "limits": LIMITS})


class Rules(wiring.Component):
    """The rules of a word's last step, when each stage of the lanes wants them.

    Members
    -------
    of_last_step : given in the cycle of the last step
    place, tie, limits : for :class:`Lane`
    """

    def __init__(self, digit: int):
        self.digit = digit
        super().__init__({"of_last_step": In(Rounding()), "place": Out(2), "tie": Out(TIE), "limits": Out(LIMITS)})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        first = product_stages(IntType(self.digit, False)) + 1
        for k, (name, target) in enumerate((("place", self.place), ("tie", self.tie), ("limits", self.limits))):
            source = Value.cast(getattr(self.of_last_step, name))
            m.d.comb += Value.cast(target).eq(delayed(m, source, first + k, name))
        return m


def latency(digit: int) -> int:
    """Cycles from a word's last step to its result."""
    return product_stages(IntType(digit, False)) + 1 + 3


class Lane(wiring.Component):
    """One lane.

    Parameters
    ----------
    digit
        Bits of the multiplier that it takes in each step.

    Members
    -------
    begin : the first step of a word is in this cycle; its others follow
    valid : a step is
    sum, scale : of the word, from its first to its last step
    delta : what is added to the quotient, in the cycle of the last step
    place, tie, limits : of :class:`Rules`
    result : ``latency`` cycles after the last step
    """

    def __init__(self, digit: int):
        self.digit = digit
        super().__init__(
            {
                "begin": In(1),
                "valid": In(1),
                "sum": In(signed(SUM_BITS)),
                "scale": In(SCALE),
                "delta": In(signed(3)),
                "place": In(2),
                "tie": In(TIE),
                "limits": In(LIMITS),
                "result": Out(signed(8)),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        digit, stages = self.digit, product_stages(IntType(self.digit, False))
        mult = Signal(32, reset_less=True)
        now = Mux(self.begin, self.scale.mult, mult)
        m.d.sync += mult.eq(now >> digit)
        product = soft_product(m, 1, self.sum, now[:digit], "product")
        begin, valid = delayed(m, self.begin, stages, "begin"), delayed(m, self.valid, stages, "valid")
        offset = delayed(m, self.scale.offset, stages, "offset")

        # The running sum moves down by a digit in each step; of what leaves it the highest bits are kept.
        total = Signal(signed(64), reset_less=True)
        low = Signal(KEPT, reset_less=True)
        with m.If(valid):
            m.d.sync += [
                total.eq(Mux(begin, offset.as_signed(), total >> digit) + product),
                low.eq(Mux(begin, 0, Cat(low, total[:digit])[-KEPT:])),
            ]
        delta = delayed(m, self.delta, stages + 2, "delta")
        whole = Cat(low, total[:TOTAL])
        places = [KEPT + LOWEST + 4 * k for k in range(4)]
        quotient, fraction = Signal(signed(QUOTIENT)), Signal(FRACTION)
        m.d.sync += [
            quotient.eq(_choose(self.place, [whole[p:].as_signed() for p in places])),
            fraction.eq(_choose(self.place, [whole[p - FRACTION : p] for p in places])),
        ]
        # A tie: the highest 12 + window bits of the fraction are 0.
        tie = (self.tie.window != 0) & ~fraction[FRACTION - 13 :].any()
        for k in range(2, 9):
            tie = tie & ((self.tie.window < k) | ~fraction[FRACTION - 12 - k])
        rounded = Signal(signed(QUOTIENT + 1))
        m.d.sync += rounded.eq(quotient - (tie & (quotient[0] == self.tie.odd)) + delta.as_signed())
        lo, hi = self.limits.lo, self.limits.hi
        m.d.sync += self.result.eq(Mux(rounded < lo, lo, Mux(rounded > hi, hi, rounded)))
        return m


def _choose(index: Value, values: list[Value]) -> Value:
    low, high = (Mux(index[0], values[k + 1], values[k]) for k in (0, 2))
    return Mux(index[1], high, low)
