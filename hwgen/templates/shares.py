"""Float32 sums and quotients of softmax: datapaths, and the steps that any number of them take together."""

from typing import Any

from amaranth import Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import data, enum, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["ADD", "DIVIDE", "FLOAT", "FLOAT_BITS", "QUOTIENT", "Shares", "Steps"]

ADD = 7  #: cycles of a float addition
DIVIDE = 26  #: quotient bits: 24 of a mantissa, one to round by, one more for a quotient below one
QUOTIENT = 1 + DIVIDE + 2 + ADD + 1  #: cycles of a quotient: start, divide, round, add (to round to an integer), limit
#: A float that is not negative: mantissa · 2**exponent, the mantissa's highest bit set but for the least exponent.
FLOAT = data.StructLayout({"mantissa": 24, "exponent": signed(10)})
#: The same in tables, with float32's exponents (1..254).
FLOAT_BITS = data.StructLayout({"mantissa": 24, "exponent": 8})
#: Exponent of quotients that are integers; keeps the exponents of small ones within 10 bits.
UNIT = 255

#: What a datapath does in a cycle, and ``divides``: the operand of a sum is a quotient, which becomes an integer.
STEP = data.StructLayout(
    dict.fromkeys(
        ("clear", "start", "divide", "compare", "order", "shift", "shift_far", "add", "normalise", "round", "limit"), 1
    )
    | {"last_sum": 1, "divides": 1}
)


class Then(enum.Enum, shape=2):  # type: ignore[call-arg]
    """What follows a rounded sum or quotient."""

    READY = 0
    COMPARE = 1
    LIMIT = 2


class Steps(wiring.Component):
    """The steps of an operation: to add an operand to the total (``ADD`` cycles), or to divide it by the last total.

    The latter takes ``QUOTIENT`` cycles; the quotient is rounded to an integer.

    Members
    -------
    go, divides : begin with the next cycle; taken when ready
    ready : the last step is in this cycle, or none is
    taken : after this cycle the operand is not needed any more
    step : what the datapaths do in this cycle; ``clear`` is not set
    """

    def __init__(self) -> None:
        super().__init__(
            {"go": In(1), "divides": In(1), "ready": Out(1), "taken": Out(1), "step": Out(STEP)},
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        left, rounding, then = Signal(range(DIVIDE)), Signal(), Signal(Then)  # rounding: the sum makes a quotient an integer
        summed, s = Signal(), self.step  # the last operation was a sum

        def begin() -> None:
            m.d.comb += self.ready.eq(1)
            with m.If(self.go):
                with m.If(self.divides):
                    m.next = "START"
                with m.Else():
                    m.next = "COMPARE"
            with m.Else():
                m.next = "READY"

        m.d.comb += [s.divides.eq(rounding), s.last_sum.eq(summed)]
        with m.FSM():
            with m.State("READY"):
                m.d.sync += rounding.eq(0)
                begin()
            with m.State("START"):
                m.d.comb += s.start.eq(1)
                m.d.sync += [left.eq(DIVIDE - 1), then.eq(Then.COMPARE), rounding.eq(1), summed.eq(0)]
                m.next = "DIVIDE"
            with m.State("DIVIDE"):
                m.d.comb += s.divide.eq(1)
                m.d.sync += left.eq(left - 1)
                with m.If(left == 0):
                    m.d.comb += self.taken.eq(1)
                    m.next = "NORMALISE"
            with m.State("COMPARE"):
                m.d.comb += s.compare.eq(1)
                m.next = "ORDER"
            with m.State("ORDER"):
                m.d.comb += [s.order.eq(1), self.taken.eq(~rounding)]
                m.d.sync += then.eq(Mux(rounding, Then.LIMIT, Then.READY))
                m.next = "SHIFT"
            for name, following in (
                ("SHIFT", "SHIFT_FAR"),
                ("SHIFT_FAR", "ADD"),
                ("ADD", "NORMALISE"),
                ("NORMALISE", "ROUND"),
            ):
                with m.State(name):
                    m.d.comb += getattr(s, name.lower()).eq(1)
                    m.next = following
            with m.State("ROUND"):
                m.d.comb += s.round.eq(1)
                with m.Switch(then):
                    with m.Case(Then.READY):
                        m.d.sync += [summed.eq(1), rounding.eq(0)]
                        begin()
                    with m.Case(Then.COMPARE):
                        m.next = "COMPARE"
                    with m.Case(Then.LIMIT):
                        m.next = "LIMIT"
            with m.State("LIMIT"):
                m.d.comb += s.limit.eq(1)
                m.d.sync += rounding.eq(0)
                begin()
        return m


class Shares(wiring.Component):
    """A datapath: one positive float32 adder with a divider before it.

    The adder sums exponentials. It rounds quotients to integers too, by adding 2**23. Its steps: compare the exponents, order
    the operands, shift the smaller one (two steps; what is shifted out is kept as one sticky bit), add, normalise, round half
    to even. The divider gives 26 bits; a quotient of two mantissas never lies halfway between two floats, so that the rest
    counts as not zero.

    Parameters
    ----------
    bits
        Of the largest quotient.

    Members
    -------
    step : of :class:`Steps`
    operand : what is added or divided, until ``Steps.taken``
    most : limit of quotients
    quotient : an integer, from the cycle after the last step on until the next last step
    """

    def __init__(self, bits: int):
        self.bits = bits
        super().__init__({"step": In(STEP), "operand": In(FLOAT_BITS), "most": In(9), "quotient": Out(9)})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        s = self.step
        total, divisor, big, operand = Signal(FLOAT), Signal(FLOAT), Signal(FLOAT), Signal(FLOAT)
        small, swap, distance, far = Signal(26), Signal(), Signal(5), Signal()  # two more bits below the mantissa
        wide, exponent = Signal(27), Signal(signed(10))  # a sum or quotient; its exponent if the highest bit is 0
        mantissa, up, carry = Signal(24), Signal(), wide[-1]
        remainder = Signal(25)
        unit = FLOAT.const({"mantissa": 1 << 23, "exponent": UNIT}).as_value()
        other = data.View(FLOAT, Mux(s.divides, unit, operand.as_value()))
        ahead, behind, trial = Signal(signed(11)), Signal(signed(11)), Signal(signed(26))
        rounded = Signal(25)
        apart = Mux(ahead < 0, behind, ahead)
        m.d.comb += [
            operand.mantissa.eq(self.operand.mantissa),
            operand.exponent.eq(self.operand.exponent),
            ahead.eq(total.exponent - other.exponent),
            behind.eq(other.exponent - total.exponent),
            trial.eq(remainder - divisor.mantissa),
            rounded.eq(mantissa + up),
        ]
        with m.If(s.clear):
            m.d.sync += [total.mantissa.eq(0), total.exponent.eq(1)]
        with m.If(s.start):
            m.d.sync += remainder.eq(operand.mantissa)
            with m.If(s.last_sum):
                m.d.sync += divisor.eq(total)
        with m.If(s.divide):
            m.d.sync += [
                remainder.eq(Mux(trial < 0, remainder, trial) << 1),
                wide.eq(Cat(1, trial >= 0, wide[1:-1])),
                exponent.eq(operand.exponent - divisor.exponent + UNIT - 24),
            ]
        with m.If(s.compare):
            m.d.sync += [swap.eq(ahead < 0), distance.eq(apart), far.eq(apart[5:].any())]
        with m.If(s.order):
            with m.If(swap):
                m.d.sync += [big.eq(other), small.eq(total.mantissa << 2)]
            with m.Else():
                m.d.sync += [big.eq(total), small.eq(other.mantissa << 2)]
        with m.If(s.shift):
            m.d.sync += small.eq(_shift(small, distance, (0, 1, 2)))
        with m.If(s.shift_far):
            m.d.sync += small.eq(Mux(far, 0, _shift(small, distance, (3, 4))))  # from 32 on it changes nothing
        with m.If(s.add):
            m.d.sync += [wide.eq((big.mantissa << 2) + small), exponent.eq(big.exponent)]
        with m.If(s.normalise):
            m.d.sync += [
                mantissa.eq(Mux(carry, wide[3:], wide[2:])),
                up.eq(Mux(carry, wide[2] & (wide[3] | wide[:2].any()), wide[1] & (wide[2] | wide[0]))),
                exponent.eq(exponent + carry),
            ]
        with m.If(s.round):
            m.d.sync += [
                total.mantissa.eq(Cat(rounded[:23], rounded[23:].any())),
                total.exponent.eq(exponent + rounded[24]),
            ]
        found = total.mantissa[: max(1, self.bits)]
        with m.If(s.limit):  # a quotient is not negative: it needs no lower limit
            m.d.sync += self.quotient.eq(Mux(found > self.most, self.most, found))
        return m


def _shift(small: Value, distance: Value, levels: tuple[int, ...]) -> Value:
    """``small >> distance`` for these bits of ``distance``; what falls off is kept as a one in the last bit."""
    for n in levels:
        lost = small[: 1 << n].any()
        small = Mux(distance[n], (small >> (1 << n)) | lost, small)
    return small
