"""The requantiser of the sequential engine: a digit of the scale times a sum in each cycle, by two multipliers."""

from typing import Any

from amaranth import Array, Cat, Const, Module, Mux, Signal, signed, unsigned
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..engine import SUM_BITS, Engine
from ..exact import MULT_BITS
from ..units.requantiser import KEPT, TOTAL, Rounder
from ..units.words import UNCHECKED, delayed
from .sequencer import Round
from .words import RULES

__all__ = ["Requantiser"]

PARTS = (32, MULT_BITS - 32, 32, 32)  #: bits of an entry of the scales in each word of external memory


class Requantiser(wiring.Component):
    """Scales, and what they make of sums.

    Members
    -------
    round, scale : a digit's, and the entry
    rules : of the instruction
    sum : a cycle later
    result : eleven cycles after an element's last round
    write, place, word : a word of the scales, and where it goes
    """

    def __init__(self, engine: Engine):
        self.engine = engine
        super().__init__(
            {
                "round": In(Round),
                "rules": In(RULES),
                "scale": In(range(engine.scales)),
                "sum": In(signed(SUM_BITS)),
                "result": Out(signed(8)),
                "write": In(1),
                "place": In(range(4 * engine.scales)),
                "word": In(32),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        digit_bits = self.engine.digit
        # The offset is wanted two cycles after the multiplier.
        scales = (self.scale, self.scale, *(delayed(m, self.scale, 2, "scale"),) * 2)
        mult_low, mult_high, *offset = (
            self._part(m, k, bits, scale) for k, (bits, scale) in enumerate(zip(PARTS, scales, strict=True))
        )
        slot = delayed(m, self.round.slot, 1, "slot")
        mult = Cat(mult_low, mult_high, Const(0, 4 * digit_bits - MULT_BITS))
        digit = Array(mult[digit_bits * k :][:digit_bits] for k in range(4))[slot]

        # The high half of a negative sum counts as 2**16 more than it is.
        halves = [Signal(2 * digit_bits, name=f"product_{name}", reset_less=True) for name in ("low", "high")]
        less = Signal(digit_bits, reset_less=True)
        bits = self.sum.as_unsigned()
        m.d.sync += [
            halves[0].eq(bits[:digit_bits] * digit),
            halves[1].eq(bits[digit_bits:] * digit),
            less.eq(digit & self.sum[-1].replicate(digit_bits)),
        ]
        high = Cat(halves[1][:digit_bits], (halves[1][digit_bits:] - less)[:digit_bits]).as_signed()
        product = Signal(signed(SUM_BITS + digit_bits), reset_less=True)
        m.d.sync += product.eq(halves[0] + (high << digit_bits))

        # The running sum moves down by a digit in each round; of what leaves it the highest bits are kept.
        now = delayed(m, Cat(self.round.slot == 0, self.round.valid), 3, "now")
        begins, valid = now[0], now[1]
        total = Signal(signed(64), reset_less=True)
        low, more = Signal(KEPT, reset_less=True), Signal(reset_less=True)
        left = Cat(low, total[:digit_bits])
        with m.If(valid):
            m.d.sync += [
                total.eq(Mux(begins, Cat(offset).as_signed(), total >> digit_bits) + product),
                low.eq(Mux(begins, 0, left[-KEPT:])),
                more.eq(~begins & (more | left[:-KEPT].any())),
            ]
        m.submodules.rounder = rounder = Rounder()
        m.d.comb += [
            rounder.whole.eq(Cat(low, total[:TOTAL])),
            rounder.more.eq(more),
            rounder.place.eq(self.rules.place),
            rounder.limits.zero.eq(self.rules.zero),
            rounder.limits.least.eq(self.rules.least),
            rounder.limits.most.eq(self.rules.most),
            rounder.ends.lo.eq(self.rules.lo),
            rounder.ends.hi.eq(self.rules.hi),
            self.result.eq(rounder.result),
        ]
        return m

    def _part(self, m: Module, number: int, bits: int, scale: Any) -> Any:
        """Some of the bits of a scale, a cycle after its number."""
        memory = Memory(shape=unsigned(bits), depth=self.engine.scales, init=[], attrs=UNCHECKED)
        m.submodules[f"part_{number}"] = memory
        read, write = memory.read_port(), memory.write_port()
        m.d.comb += [
            read.addr.eq(scale),
            write.addr.eq(self.place[2:]),
            write.data.eq(self.word),
            write.en.eq(self.write & (self.place[:2] == number)),
        ]
        return read.data
