"""The array of multipliers: weights stay, activations pass."""

from typing import Any

from amaranth import Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ...templates.product import dsp_product, soft_product
from ..engine import SUM_BITS, Engine
from .words import chunk

__all__ = ["MultiplierArray", "latency"]


def _levels(engine: Engine) -> int:
    return (engine.rows - 1).bit_length()


def latency(engine: Engine) -> int:
    """Cycles from activations to sums: a register for them, one before the multipliers, product, adder tree."""
    return 2 + engine.product_stages + _levels(engine)


class MultiplierArray(wiring.Component):
    """``rows`` × ``columns`` multipliers, and for each column the sum of its products.

    Each multiplier has a weight, and the next one behind it: the next ones shift down by a row for each word of weights, and
    take their places all at once. Each cycle every row has an activation for all of its columns (matrix mode), or every column
    a channel, whose last ``taps`` elements the first rows hold (depthwise mode; the other rows' weights count as zero).

    Members
    -------
    shift, weights : a word of the next weights
    x : activations
    read : whether ``x`` counts; the three that follow are of the same cycle
    swap : whether the next weights take their places, before ``x`` is multiplied
    depthwise : mode
    sums : of ``x``, ``latency`` cycles later
    """

    def __init__(self, engine: Engine):
        self.engine = engine
        super().__init__(
            {
                "shift": In(1),
                "weights": In(chunk(1, engine.columns)),
                "x": In(chunk(1, engine.banks)),
                "read": In(1),
                "swap": In(1),
                "depthwise": In(1),
                "sums": Out(data.ArrayLayout(signed(SUM_BITS), engine.columns)),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        e = self.engine
        passed = [Signal(chunk(1, e.banks), name=f"passed_{t}", reset_less=True) for t in range(e.taps)]
        with m.If(self.read):
            m.d.sync += [b.eq(a) for a, b in zip([self.x, *passed], passed, strict=False)]
        swap, depthwise = Signal(), Signal()
        m.d.sync += [swap.eq(self.swap & self.read), depthwise.eq(self.depthwise)]

        after = [self.weights[c].as_signed() for c in range(e.columns)]
        products: list[list[Signal]] = [[] for _ in range(e.columns)]
        for r in range(e.rows):
            spare = [Signal(signed(8), name=f"next_{r}_{c}", reset_less=True) for c in range(e.columns)]
            with m.If(self.shift):
                m.d.sync += [n.eq(a) for n, a in zip(spare, after, strict=True)]
            after = spare
            shared = Signal(signed(8), name=f"x_{r}", reset_less=True)
            m.d.sync += shared.eq(passed[0][r].as_signed())
            for c in range(e.columns):
                weight = Signal(signed(8), name=f"weight_{r}_{c}", reset_less=True)
                with m.If(swap):
                    m.d.sync += weight.eq(spare[c] if r < e.taps else Mux(depthwise, 0, spare[c]))
                x = shared
                if r < e.taps:
                    x = Signal(signed(8), name=f"x_{r}_{c}", reset_less=True)
                    m.d.sync += x.eq(Mux(depthwise, passed[e.taps - 1 - r][c], passed[0][r]).as_signed())
                products[c].append(self._product(m, x, weight, f"product_{r}_{c}", c * e.rows + r))
        m.d.comb += [s.eq(_tree(m, values, f"sum_{c}")) for c, (s, values) in enumerate(zip(self.sums, products, strict=True))]
        return m

    def _product(self, m: Module, x: Signal, weight: Signal, name: str, number: int) -> Signal:
        """The last ``soft`` ones are made of LUTs."""
        e = self.engine
        if number >= e.rows * e.columns - e.soft:
            return soft_product(m, x, weight, name, e.product_stages)
        return dsp_product(m, x, weight, name, e.product_stages)


def _tree(m: Module, values: list[Signal], name: str) -> Any:
    """The sum, a register behind each level of adders."""
    level = 0
    while len(values) > 1:
        nodes = []
        for i in range(0, len(values), 2):
            node = Signal(signed(17 + level), name=f"{name}_{level}_{i // 2}", reset_less=True)
            m.d.sync += node.eq(sum(values[i + 1 : i + 2], values[i]))
            nodes.append(node)
        values, level = nodes, level + 1
    return values[0]
