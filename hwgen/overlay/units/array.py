"""The array of multipliers: weights stay, activations pass."""

from typing import Any

from amaranth import Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ...templates.product import dsp_product, soft_product
from ..engine import SUM_BITS, Engine
from .words import chunk

__all__ = ["MultiplierArray"]


class MultiplierArray(wiring.Component):
    """``rows`` × ``columns`` multipliers, and for each column the sum of its products.

    Each cycle every row has an activation for all of its columns (matrix mode), or every column a channel, whose last ``taps``
    elements the first rows hold (depthwise mode; the other rows' weights count as zero).

    Members
    -------
    shift, weights : a word of the next weights
    x : activations
    read : whether ``x`` counts
    depthwise : mode of the same cycle
    swap : a cycle before ``x``: the next weights take their places, before ``x`` is multiplied
    clear : of the same cycle as ``swap``: those of the other rows than the first ``taps`` become zero instead
    sums : of ``x``, :attr:`.Engine.array_latency` cycles later
    """

    def __init__(self, engine: Engine):
        self.engine = engine
        super().__init__(
            {
                "shift": In(1),
                "weights": In(chunk(1, engine.columns)),
                "x": In(chunk(1, engine.banks)),
                "read": In(1),
                "depthwise": In(1),
                "swap": In(1),
                "clear": In(1),
                "sums": Out(data.ArrayLayout(signed(SUM_BITS), engine.columns)),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        e = self.engine
        passed = [Signal(chunk(1, e.banks), name=f"passed_{t}", reset_less=True) for t in range(e.taps)]
        with m.If(self.read):
            m.d.sync += [b.eq(a) for a, b in zip([self.x, *passed], passed, strict=False)]
        depthwise = Signal(reset_less=True)
        m.d.sync += depthwise.eq(self.depthwise)
        shared = [Signal(signed(8), name=f"x_{r}", reset_less=True) for r in range(e.rows)]
        m.d.sync += [x.eq(passed[0][r].as_signed()) for r, x in enumerate(shared)]
        # What reaches all weights has two cycles for its way.
        swap, clear = Signal(reset_less=True), Signal(reset_less=True)
        m.d.sync += [swap.eq(self.swap), clear.eq(self.clear)]
        sums = []
        for c in range(e.columns):
            m.submodules[f"column_{c}"] = column = Column(e, c)
            own = [Signal(signed(8), name=f"x_{r}_{c}", reset_less=True) for r in range(e.taps)]
            m.d.sync += [x.eq(Mux(depthwise, passed[e.taps - 1 - r][c], passed[0][r]).as_signed()) for r, x in enumerate(own)]
            m.d.comb += [
                column.shift.eq(self.shift),
                column.weight.eq(self.weights[c].as_signed()),
                column.swap.eq(swap),
                column.clear.eq(clear),
                *(ours.eq(x) for ours, x in zip(column.x, [*own, *shared[e.taps :]], strict=True)),
            ]
            sums.append(column.sum)
        m.d.comb += Value.cast(self.sums).eq(Cat(sums))
        return m


class Column(wiring.Component):
    """A column of multipliers, and an adder tree.

    Each multiplier has a weight, and the next one behind it: the next ones shift down by a row for each word of weights, and
    take their places all at once.

    Members
    -------
    shift, weight : a word of the next weights
    swap, clear : two cycles before ``x``, as those of :class:`MultiplierArray`
    x : an activation for each row
    sum : of the products, one cycle for each of the multipliers' stages and of the tree's levels later
    """

    def __init__(self, engine: Engine, number: int):
        self.engine, self.number = engine, number
        super().__init__(
            {
                "shift": In(1),
                "weight": In(signed(8)),
                "swap": In(1),
                "clear": In(1),
                "x": In(data.ArrayLayout(signed(8), engine.rows)),
                "sum": Out(signed(SUM_BITS)),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        e = self.engine
        swap, clear = Signal(reset_less=True), Signal(reset_less=True)
        m.d.sync += [swap.eq(self.swap), clear.eq(self.clear)]
        products = []
        after = self.weight
        for r in range(e.rows):
            spare = Signal(signed(8), name=f"next_{r}", reset_less=True)
            weight = Signal(signed(8), name=f"weight_{r}", reset_less=True)
            with m.If(self.shift):
                m.d.sync += spare.eq(after)
            with m.If(swap):
                m.d.sync += weight.eq(spare)
            if r >= e.taps:
                with m.If(clear):
                    m.d.sync += weight.eq(0)
            # The array's last multipliers are those made of LUTs.
            soft = self.number * e.rows + r >= e.rows * e.columns - e.soft
            product = soft_product if soft else dsp_product
            products.append(product(m, self.x[r], weight, f"product_{r}", e.product_stages))
            after = spare
        m.d.comb += self.sum.eq(_tree(m, products, "sum"))
        return m


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
