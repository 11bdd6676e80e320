"""The pipeline of :mod:`~hwgen.templates.matrix_vector` and :mod:`~hwgen.templates.depthwise`: multiply, add up, accumulate."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from amaranth import Cat, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..arith import IntType
from ..cost import BLOCKS_18K, Memories, Resources, distinct, even, logic_memory
from .pieces import collect, collected, delay
from .product import product_resources, product_stages, soft_product
from .settings import DEEP

__all__ = ["LOGIC_DEPTH", "Mac", "MacParams", "Weights", "check_sums", "pack", "pass_through"]

LOGIC_DEPTH = 32  #: memories of more words are block RAM
PATIENCE = 16  #: cycles that a sum may wait to be taken before a step waits; less where a sum takes less
NEAR = 8  #: multipliers that lie close to their memories; the way to more of them has a register


@dataclass(frozen=True, kw_only=True, eq=False)
class Weights:
    """Weights, their zero point subtracted.

    Parameters
    ----------
    values
        Integers (groups, outputs, words, sources): what output ``o`` of a group multiplies element ``s`` of a window's
        word ``t`` by. Depthwise: (channels / lanes, 1, words, rows · lanes).
    """

    values: np.ndarray = field(repr=False)

    def checked(self, shape: tuple[int, ...], element: IntType) -> np.ndarray:
        """The values; ``ValueError`` unless they have this shape and type."""
        if self.values.shape != shape:
            raise ValueError(f"weights must have shape {shape}, not {self.values.shape}")
        if self.values.min() < element.min or self.values.max() > element.max:
            raise ValueError(f"weights must be {element}, not in {self.values.min()}..{self.values.max()}")
        return self.values


def check_sums(sums: np.ndarray, accumulator: IntType) -> np.ndarray:
    """The sums; ``ValueError`` if the accumulator does not hold them."""
    if len(sums) and (sums.min() < accumulator.min or sums.max() > accumulator.max):
        raise ValueError(f"accumulator must hold {sums.min()}..{sums.max()}, not be {accumulator}")
    return sums


def pack(rows: np.ndarray, bits: int) -> list[int]:
    """Integers (depth, elements) as memory words: the lowest ``bits`` bits of each, element 0 lowest."""
    flags = (rows[..., None] >> np.arange(bits) & 1).astype(np.uint8).reshape(len(rows), -1)
    return [int.from_bytes(row.tobytes(), "little") for row in np.packbits(flags, axis=1, bitorder="little")]


@dataclass(frozen=True, kw_only=True)
class MacParams:
    """Sums of products: ``terms`` products for each of ``outputs`` sums in every step, ``steps`` steps a sum.

    Term s of output p multiplies operand ``s · stride + p % stride``, ``stride`` = ``lanes`` / ``terms``: all outputs share
    the operands where ``lanes`` = ``terms``, each has its own where ``lanes`` = ``terms`` · ``outputs``.

    Parameters
    ----------
    operand, weight, accumulator
        Types; sums are taken modulo 2**accumulator.bits.
    lanes
        Operands of one step.
    depth
        Steps until the weights repeat: words of the weight memory.
    soft
        How many of the multipliers are made of LUTs, see :mod:`~hwgen.templates.product`; the others are DSPs.
    programmable
        Whether the weights are in block RAM in any case.
    """

    operand: IntType
    weight: IntType
    accumulator: IntType
    lanes: int
    outputs: int
    terms: int
    steps: int
    depth: int
    soft: int = 0
    programmable: bool = False

    def check(self) -> None:
        """``ValueError`` for types that the pipeline is not made for."""
        if not self.weight.signed:
            raise ValueError(f"weight must be signed, not {self.weight}")
        if not self.accumulator.signed or self.accumulator.bits > 52:
            raise ValueError(f"accumulator must be signed, of at most 52 bits, not {self.accumulator}")
        if not 0 <= self.soft <= self.multipliers:
            raise ValueError(f"soft must be in 0..{self.multipliers} (multipliers), not {self.soft!r}")

    @property
    def multipliers(self) -> int:
        return self.terms * self.outputs

    @property
    def weight_bits(self) -> int:
        """Bits of one word of the weight memory."""
        return self.multipliers * self.weight.bits

    @property
    def levels(self) -> tuple[int, ...]:
        """Values left for each output after each stage of the adder tree, the products included: 9, 5, 3, 2, 1."""
        counts = [self.terms]
        while counts[-1] > 1:
            counts.append(-(-counts[-1] // 2))
        return tuple(counts)

    def level_bits(self, level: int) -> int:
        """Bits of a value of that level: what a sum of 2**level products needs, at most the accumulator's."""
        return min(self.accumulator.bits, self.operand.bits + self.weight.bits + level)

    @property
    def product_stages(self) -> int:
        """Registers from the operands to the products; the DSPs' wait for those of LUTs."""
        return product_stages(self.weight) if self.soft else 1

    @property
    def far(self) -> bool:
        """Whether there is a register on the way from memories to multipliers."""
        return self.multipliers > NEAR

    @property
    def stages(self) -> int:
        """Registers that a step passes before it is accumulated: memory, its output, way if far, operands, products, tree."""
        return 2 + self.far + self.product_stages + len(self.levels)

    @property
    def latency(self) -> int:
        """Cycles from a sum's last step to its output: the stages, accumulator, queue."""
        return self.stages + 1 + (self.steps > 1)

    @property
    def sums(self) -> int:
        """Sums at most that have begun and not been taken: no step waits where each is taken within ``PATIENCE`` cycles."""
        return 1 - -(self.latency + min(PATIENCE, self.steps)) // self.steps

    def started(self, k: Any) -> Any:
        """Steps that can have started while output ``k`` is offered and not taken."""
        return (k + self.sums) * self.steps

    @property
    def in_bram(self) -> bool:
        """Whether the weights are in block RAM."""
        return self.programmable or self.depth > LOGIC_DEPTH

    @property
    def columns(self) -> int:
        """Bits of a word of the weight memory that differ, where it is logic."""
        return self.weight_bits if self.in_bram else distinct(self.weight_bits, self.depth)

    @property
    def swap(self) -> tuple[Resources, Resources]:
        """What a multiplier of LUTs instead of a DSP adds to the resources, and what is added where there is one at all.

        Weight and operands have a register of their own before it, and the DSPs wait for its product. Of the weights'
        registers there are fewer where columns of the memory are equal.
        """
        delay = self.level_bits(0) * (product_stages(self.weight) - 1)
        soft = product_resources(self.operand, self.weight)
        each = Resources(lut=soft.lut, ff=soft.ff + self.weight.bits - delay, dsp=-1)
        return each, Resources(ff=self.multipliers * delay + self.lanes * self.operand.bits)

    def resources(self, memories: Memories = BLOCKS_18K) -> Resources:
        """Modelled: carry chains for the adders of tree and accumulators (which start anew within the same LUTs), registers
        as written; DSPs have the registers before and behind them.
        """
        lut = ff = 0
        widths = [self.level_bits(0)] * self.terms
        for level in range(1, len(self.levels)):
            pairs = len(widths) // 2
            lut += self.outputs * pairs * even(self.level_bits(level))
            widths = [self.level_bits(level)] * pairs + widths[2 * pairs :]
            ff += self.outputs * sum(widths)
        lut += self.outputs * even(self.accumulator.bits) if self.steps > 1 else 0
        ff += self.outputs * self.accumulator.bits * (self.steps > 1) + (1 + self.far) * self.lanes * self.operand.bits
        lut += 2 * (self.depth.bit_length() + self.steps.bit_length())
        ff += 2 * (self.depth - 1).bit_length() + (self.steps - 1).bit_length() + 2 * self.stages + 4
        made = Resources(lut=lut, ff=ff, dsp=self.multipliers) + self._memory(memories)
        made += collected(self.outputs * self.accumulator.bits, self.sums, memories, stay=self.steps > 1)
        if self.soft:
            each, once = self.swap
            equal = max(0, self.soft * self.weight.bits - self.columns)
            made += Resources(**{n: getattr(once, n) + self.soft * getattr(each, n) for n in ("lut", "ff", "dsp")})
            made += Resources(ff=-equal)
        return made

    def _memory(self, memories: Memories) -> Resources:
        """The weight memory and the registers behind it, but the last.

        Up to ``LOGIC_DEPTH`` words are logic, equal columns made once, with a register behind. Block RAM has this and another
        one, unless it has several banks. One more is on the way if far.
        """
        if not self.in_bram:
            return Resources(lut=logic_memory(self.columns, self.depth), ff=(1 + self.far) * self.columns)
        memory = memories.large(self.depth, self.weight_bits)
        return memory + Resources(ff=self.weight_bits * (self.far + bool(memory.lut)))


class Mac(wiring.Component):
    """Hardware for :class:`MacParams`.

    Every memory has a register behind, every multiply one before and one behind, every adder of the tree one behind: those of
    block RAMs and DSPs, where a device has them. One more is on the way to more than ``NEAR`` multipliers, and one between the
    weights' counter and block RAM. None of it ever stands still: a sum begins where there is room for it in the
    queue at the end (:func:`hwgen.templates.pieces.collect`).

    Parameters
    ----------
    weights
        Integers (depth, outputs, terms).

    Members
    -------
    ready : out, whether a step can start in this cycle
    step : in, start one if so
    last : out, a step started now ends a sum
    x : in, the step's operands, in the cycle behind it
    o : the sums
    """

    def __init__(self, params: MacParams, weights: np.ndarray):
        self.params = params
        self.weights = weights
        super().__init__(
            {
                "ready": Out(1),
                "step": In(1),
                "last": Out(1),
                "x": In(data.ArrayLayout(params.operand.shape, params.lanes)),
                "o": Out(stream.Signature(data.ArrayLayout(params.accumulator.shape, params.outputs))),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        p = self.params
        least = DEEP if p.programmable else 2  # memories have an address
        rows = np.resize(self.weights.reshape(p.depth, -1), (max(least, p.depth), p.multipliers))
        style = {"rom_style": "block" if p.in_bram else "logic"}
        words = pack(rows, p.weight.bits)
        m.submodules.rom = rom = Memory(shape=unsigned(p.weight_bits), depth=len(rows), init=words, attrs=style)
        weights = rom.read_port()
        count = Signal(range(p.steps))
        position = Signal.like(weights.addr, init=p.in_bram and 1 % p.depth)  # a step ahead of block RAM, which is farther away
        first, room, starts = Signal(init=1), Signal(), Signal()
        m.d.comb += [
            self.ready.eq(~first | room),
            starts.eq(self.ready & self.step),
            self.last.eq(count == p.steps - 1),
        ]
        with m.If(starts):
            m.d.sync += [
                first.eq(self.last),
                count.eq(Mux(self.last, 0, count + 1)),
                position.eq(Mux(position == p.depth - 1, 0, position + 1)),
            ]
        with m.If(starts | (not p.in_bram)):
            m.d.sync += weights.addr.eq(position)

        # Which stages hold a step, and which of these end a sum: memory, its output, way, operands, products, tree.
        valid = Signal(p.stages)
        last = Signal(p.stages)
        m.d.sync += [valid.eq(Cat(starts, valid)), last.eq(Cat(starts & self.last, last))]
        w = delay(m, weights.data, 1 + p.in_bram + p.far, "w")
        x = data.View(self.x.shape(), delay(m, Value.cast(self.x), 2 + p.far, "x"))
        products = [self._product(m, x, w, i) for i in range(p.multipliers)]
        sums = [self._sum(m, o, products[o * p.terms : (o + 1) * p.terms]) for o in range(p.outputs)]
        complete = last[-1]
        if p.steps > 1:
            sums, complete = self._accumulate(m, sums, valid[-1], last[-1]), Signal()
            m.d.sync += complete.eq(last[-1])
        m.d.comb += room.eq(collect(m, self.o, sums, complete, starts & first, p.sums, stay=p.steps > 1))
        return m

    def _accumulate(self, m: Module, values: list[Value], valid: Value, last: Value) -> list[Value]:
        """The accumulators, which have a sum in the cycle after its last step is there."""
        totals = [Signal(self.params.accumulator.shape, name=f"total_{n}", reset_less=True) for n in range(len(values))]
        begin = Signal(init=1)
        with m.If(valid):
            m.d.sync += begin.eq(last)
            m.d.sync += [total.eq(Mux(begin, 0, total) + value) for total, value in zip(totals, values, strict=True)]
        return totals

    def _product(self, m: Module, x: Any, w: Signal, index: int) -> Value:
        """The registered product ``index`` (output · terms + term); the last ``soft`` ones are made of LUTs."""
        p = self.params
        output, term = divmod(index, p.terms)
        stride = p.lanes // p.terms
        operand = x[term * stride + output % stride]
        weight = w.word_select(index, p.weight.bits).as_signed()
        name, shape = f"product_{output}_{term}", signed(p.level_bits(0))
        if index >= p.multipliers - p.soft:
            return soft_product(m, operand, weight, name)[: shape.width].as_signed()
        product: Value = operand * weight
        for stage in range(p.product_stages):
            # Kept, as Yosys would move it in front of an SB_MAC16's adder while it is behind another one.
            register = Signal(shape, name=f"{name}_{stage}" if stage else name, reset_less=True, attrs={"keep": 1})
            m.d.sync += register.eq(product)
            product = register
        return product

    def _sum(self, m: Module, output: int, values: list[Value]) -> Value:
        """The adder tree of one output."""
        for level in range(1, len(self.params.levels)):
            nodes = []
            for i in range(0, len(values), 2):
                node = Signal(signed(self.params.level_bits(level)), name=f"sum_{output}_{level}_{i // 2}", reset_less=True)
                m.d.sync += node.eq(sum(values[i + 1 : i + 2], values[i]))
                nodes.append(node)
            values = nodes
        return values[0]


def pass_through(m: Module, i: Any, mac: Mac) -> None:
    """Make each word of stream ``i`` one step of ``mac``."""
    x = Signal(mac.x.shape(), reset_less=True)
    m.d.comb += [mac.step.eq(i.valid), i.ready.eq(mac.ready), mac.x.eq(x)]
    m.d.sync += x.eq(i.payload)
