"""Softmax, bit-exact with ONNX Runtime's quantised operator."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from amaranth import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..arith import IntType, clamp
from ..cost import BLOCKS_18K, Cost, Memories, Resources
from ..errors import HwgenError
from ..graph import QuantType
from ..streams import Stream, Words, serve
from .pieces import check_counts
from .shares import ADD, FLOAT_BITS, QUOTIENT, Shares, Steps

__all__ = ["Softmax", "SoftmaxContents", "SoftmaxParams", "softmax_params", "unpack"]

F32 = np.float32
LUT_DEPTH = 32  #: vectors of more elements are in block RAM
LEVELS = (1 << 22) - 1  #: quotients up to here are rounded to integers by adding 2**23
FETCH = 5  #: cycles from an element's address to its float operand
EACH = QUOTIENT + 1  #: cycles of an output element: divide, emit


@dataclass(frozen=True, kw_only=True)
class SoftmaxParams:
    """Softmax over the channels of each of ``vectors`` vectors, lanes = 1.

    ONNX Runtime turns DequantizeLinear, Softmax, QuantizeLinear into its operator QLinearSoftmax, which computes in float32:
    ``y = clamp(rint(scaled[i] / sum(exponentials[i])) + zero_point)`` with ``i = x - max(x) + 255``, the sum from the first
    channel to the last. Source: measured on version 1.31.1 and its published kernel; see :class:`SoftmaxContents`.

    Parameters
    ----------
    element, output
        8-bit types, both signed or both unsigned.
    channels
        Elements of a vector.
    levels
        The greatest quotient: ``floor(1 / output scale)``.
    zero_point
        Of the output.
    vectors
        Vectors of a frame: rows times columns.
    """

    element: IntType
    output: IntType
    channels: int
    levels: int
    zero_point: int
    vectors: int = 1

    def __post_init__(self) -> None:
        for name in "element", "output":
            if getattr(self, name).bits != 8:
                raise ValueError(f"{name} must have 8 bits, not {getattr(self, name).bits}")
        if self.output.signed != self.element.signed:
            raise ValueError(f"output must be {self.element} like the input, not {self.output}")
        check_counts(self, "channels", "vectors")
        if not 0 <= self.levels <= LEVELS:
            raise ValueError(f"levels must be in 0..{LEVELS}, not {self.levels!r}")
        if not self.output.min <= self.zero_point <= self.output.max:
            raise ValueError(f"zero_point must be in {self.output.min}..{self.output.max}, not {self.zero_point!r}")

    @property
    def inputs(self) -> tuple[Stream, ...]:
        return (Stream(element=self.element, lanes=1, words=self.channels * self.vectors),)

    @property
    def outputs(self) -> tuple[Stream, ...]:
        return (Stream(element=self.output, lanes=1, words=self.channels * self.vectors),)

    def compute(self, words: Words, contents: "SoftmaxContents") -> Words:
        vectors = words.reshape(-1, self.channels)
        index = vectors - vectors.max(1, keepdims=True) + 255
        total = np.add.accumulate(contents.exponentials[index], axis=1, dtype=F32)[:, -1:]
        quotients = np.rint(contents.scaled[index] / total).astype(np.int64)
        return clamp(quotients + self.zero_point, self.output.min, self.output.max).reshape(-1, 1)

    @property
    def gap(self) -> int:
        """Cycles from the last element of a vector to the first of the next."""
        return 1 + FETCH + self.channels * (ADD + EACH)

    def departures(self, arrivals: np.ndarray) -> np.ndarray:
        """A vector is read, summed (ADD cycles an element) and divided (EACH cycles an element) before the next is read."""
        gaps = np.ones(len(arrivals), np.int64)
        gaps[self.channels - 1 :: self.channels] = self.gap
        last = serve(arrivals, gaps)[self.channels - 1 :: self.channels]
        first = last[:, None] + 1 + FETCH + self.channels * ADD + EACH
        return (first + EACH * np.arange(self.channels)).ravel()

    def needed(self, k: Any, port: int = 0) -> Any:
        return (k // self.channels + 1) * self.channels

    def accepted(self, k: Any, port: int = 0) -> Any:
        """While a vector's last output word waits, the next vector may be read."""
        return ((k + 1) // self.channels + 1) * self.channels

    def cost(self, memories: Memories = BLOCKS_18K) -> Cost:
        """Synthesised for ECP5: 642 LUT and 318 FF for 12 channels; block RAM for the tables and for a long vector."""
        counter, small = (self.channels - 1).bit_length(), self.channels <= LUT_DEPTH
        vector = memories.small(self.channels, 8) if small else Resources(bram=memories.blocks(self.channels, 8))
        fixed = Resources(lut=610 + 4 * counter, ff=310 + counter, bram=memories.blocks(512, 32))
        cycles = self.vectors * (self.channels - 1 + self.gap)
        return Cost(cycles=cycles, resources=fixed + vector)

    def create(self, contents: "SoftmaxContents") -> "Softmax":
        return Softmax(self, contents)


@dataclass(frozen=True, kw_only=True, eq=False)
class SoftmaxContents:
    """Tables of 256 float32 for ``i = x - max(x) + 255``.

    Parameters
    ----------
    exponentials
        ``f32(exp((i - 255 + b) * sx))``, b such that the sum of all channels stays finite.
    scaled
        ``f32(exponentials * floor(f32(1 / sy)))``.
    """

    exponentials: np.ndarray
    scaled: np.ndarray


def softmax_params(
    element: QuantType, output: QuantType, channels: int, vectors: int = 1
) -> tuple[SoftmaxParams, SoftmaxContents]:
    """The hardware for a quantised softmax; ``HwgenError`` where ONNX Runtime's float32 numbers would overflow."""
    headroom = float(np.log(F32(np.finfo(F32).max) / F32(channels)))
    b = max(0.0, headroom - 5) / element.scale
    exponentials = np.array([math.exp((i - 255 + b) * element.scale) for i in range(256)]).astype(F32)
    with np.errstate(over="ignore"):
        levels = float(np.floor(F32(1) / F32(output.scale)))
    most = min(float(LEVELS), float(np.finfo(F32).max) / float(exponentials[-1]))
    if levels > most:
        least = f"at least {1 / most:.3g} for {channels} channels, not {output.scale:.3g}"
        raise HwgenError(f"softmax: its output scale must be {least}; quantise its output again (1/256 is usual)")
    params = SoftmaxParams(
        element=element.integer,
        output=output.integer,
        channels=channels,
        levels=int(levels),
        zero_point=output.zero_point,
        vectors=vectors,
    )
    return params, SoftmaxContents(exponentials=exponentials, scaled=exponentials * F32(params.levels))


class Softmax(wiring.Component):
    """Hardware for :class:`SoftmaxParams`: a datapath that sums and divides, see :class:`~hwgen.templates.shares.Shares`.

    Members
    -------
    i : stream of ``params.inputs[0]``
    o : stream of ``params.outputs[0]``
    """

    def __init__(self, params: SoftmaxParams, contents: SoftmaxContents):
        self.params, self.contents = params, contents
        super().__init__({"i": In(params.inputs[0].signature), "o": Out(params.outputs[0].signature)})

    def elaborate(self, platform: Any) -> Module:
        p, m = self.params, Module()
        m.submodules.steps = steps = Steps()
        m.submodules.shares = shares = Shares(p.levels.bit_length())
        count = Signal(range(p.channels))
        last, wait = Signal(), Signal(range(FETCH))
        dividing = Signal()  # the second pass over the vector, which divides; the first one sums
        m.d.comb += [
            last.eq(count == p.channels - 1),
            steps.divides.eq(dividing),
            shares.step.eq(steps.step),
            shares.operand.eq(self._fetch(m, count, dividing)),
            shares.most.eq(p.output.max - p.zero_point),
        ]
        advance = count.eq(Mux(last, 0, count + 1))
        with m.If(steps.taken):
            m.d.sync += [advance, dividing.eq(dividing | last)]
        with m.If(self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        with m.FSM():
            with m.State("READ"):
                m.d.comb += [self.i.ready.eq(1), shares.step.clear.eq(1)]
                m.d.sync += wait.eq(FETCH - 1)
                with m.If(self.i.valid):
                    m.d.sync += advance
                    with m.If(last):
                        m.next = "FETCH"
            with m.State("FETCH"):
                m.d.sync += wait.eq(wait - 1)
                with m.If(wait == 0):
                    m.d.comb += steps.go.eq(1)
                    m.next = "SUM"
            with m.State("SUM"):
                m.d.comb += steps.go.eq(1)
                with m.If(steps.ready & dividing):
                    m.next = "DIVIDE"
            with m.State("DIVIDE"), m.If(steps.step.limit):
                m.next = "EMIT"
            with m.State("EMIT"), m.If(~self.o.valid):  # the last word has left long ago, unless it has to wait
                m.d.sync += [self.o.payload[0].eq(shares.quotient + p.zero_point), self.o.valid.eq(1)]
                with m.If(count == 0):
                    m.d.sync += dividing.eq(0)
                    m.next = "READ"
                with m.Else():
                    m.d.comb += steps.go.eq(1)
                    m.next = "DIVIDE"
        return m

    def _fetch(self, m: Module, count: Signal, dividing: Signal) -> Any:
        """Store the vector; the float of element ``count``, FETCH cycles later."""
        p = self.params
        m.submodules.vector = vector = Memory(
            shape=p.element.shape,
            depth=p.channels,
            init=[],
            # What is read while it is written does not matter: no logic for that.
            attrs={"ram_style": "block" if p.channels > LUT_DEPTH else "distributed", "no_rw_check": 1},
        )
        tables = np.concatenate([self.contents.exponentials, self.contents.scaled])
        m.submodules.tables = table = Memory(shape=FLOAT_BITS, depth=512, init=unpack(tables), attrs={"rom_style": "block"})
        store, load, look_up = vector.write_port(), vector.read_port(), table.read_port()
        x, largest, index, operand = Signal(p.element.shape), Signal(p.element.shape), Signal(8), Signal(FLOAT_BITS)
        taken = self.i.valid & self.i.ready
        m.d.comb += [store.addr.eq(count), store.data.eq(self.i.payload[0]), store.en.eq(taken), load.addr.eq(count)]
        m.d.comb += look_up.addr.eq(Cat(index, dividing))
        m.d.sync += [
            x.eq(load.data),
            index.eq(x - largest - 1),  # modulo 256: 255 - (largest - x)
            operand.eq(look_up.data),
        ]
        with m.If(taken & ((count == 0) | (self.i.payload[0] > largest))):
            m.d.sync += largest.eq(self.i.payload[0])
        return operand


def unpack(floats: np.ndarray) -> list[dict[str, int]]:
    """Non-negative float32 as :data:`FLOAT_BITS`; numbers below 2**-126 have the exponent 1 and no leading one."""
    bits = floats.astype(F32).view(np.uint32).astype(np.int64)
    exponents, fractions = bits >> 23, bits & (1 << 23) - 1
    mantissas = fractions + ((exponents > 0) << 23)
    return [{"mantissa": int(f), "exponent": int(e)} for f, e in zip(mantissas, np.maximum(exponents, 1), strict=True)]
