"""Exact arithmetic in the engine's number formats."""

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from ..errors import HwgenError
from ..graph import Add, ArgMax, GlobalAveragePool, Graph, Linear, MatMul, Node, QuantType, Softmax, Table
from ..requantise import reference
from ..templates.add import AddParams, AddTables, add_block
from .engine import Engine
from .isa import PLACES, SHIFTS

__all__ = ["INSTEAD", "Scales", "Sums", "Tables", "lacking", "nearest", "products_of", "scales_of", "stored", "sums_of",
           "tables_of"]  # fmt: skip

MULT_BITS, SHIFT_MAX, TOTAL_BITS = 44, 60, 41  #: of a requantiser; of its running sum at the end
INSTEAD = "use --style dataflow"
SMALLER = "multiply smaller matrices"
MANTISSA = 24  #: bits of a float32's
MOST_SUMS, FARTHEST = 1 << 22, 16  #: how far is looked for what equals float32 sums


@dataclass(frozen=True, kw_only=True, eq=False)
class Sums:
    """Weighted sums of stored activations, and what ONNX Runtime makes of them.

    ``y = clip(rint(float32(sum + bias) * scale) + zero, lo, hi)``, the product rounded to a float32 too.

    Parameters
    ----------
    weights
        int8, output channels first.
    bias
        (O,) integers.
    scale
        (O,) float32; 0 where the output is the same whatever the sum.
    constant
        (O,) the output where the scale is 0, less ``zero``.
    low, high
        (O,) least and largest sums.
    """

    name: str
    weights: np.ndarray
    bias: np.ndarray
    scale: np.ndarray
    constant: np.ndarray
    low: np.ndarray
    high: np.ndarray
    zero: int
    lo: int
    hi: int

    @property
    def largest(self) -> np.ndarray:
        """(O,) magnitudes that ``sum + bias`` cannot exceed."""
        return np.maximum(np.abs(self.low + self.bias), np.abs(self.high + self.bias))

    @property
    def coarse(self) -> np.ndarray:
        """(O,) whether ``sum + bias`` may be no float32 where the output is not at a limit."""
        return (self.largest > 1 << MANTISSA) & (self.scale > 0) & (self.scale < 257 / (1 << MANTISSA))


@dataclass(frozen=True, kw_only=True, eq=False)
class Scales:
    """The exact products of :class:`Sums`, of some channels: ``mult / 2**(4 * shift)`` is the scale.

    Parameters
    ----------
    mult, offset
        (channels,) int64; the offset holds the bias, and half a unit.
    shift, steps
        Fields of :class:`hwgen.overlay.isa.Drain`.
    """

    mult: np.ndarray
    offset: np.ndarray
    shift: int
    steps: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Tables:
    """What :class:`hwgen.overlay.isa.Combine` computes: 256 entries for each operand, from stored value -128 on."""

    a: np.ndarray
    b: np.ndarray
    shift: int
    window: int
    odd: int
    lo: int
    hi: int


def stored(graph: Graph, tensor: str) -> int:
    """What is taken from a tensor's integers to make them int8; ``HwgenError`` where they don't become such."""
    element = graph.tensors[tensor].type.integer
    if element.bits != 8:
        raise HwgenError(f"tensor {tensor}: the overlay computes with 8 bits, not {element}; {INSTEAD}")
    return 0 if element.signed else 128


def lacking(node: Node) -> str:
    """Why an operator is refused that the engine has no instructions for."""
    if isinstance(node, Softmax):
        return f"{node.name}: the engine has no Softmax; choose another board, or {INSTEAD}"
    if isinstance(node, ArgMax):
        return f"{node.name}: the overlay has no ArgMax but behind its last other operator, on the host or on chip; {INSTEAD}"
    return f"{node.name}: the overlay has no {type(node).__name__}; {INSTEAD}"


def nearest(x: Any, shift: int) -> Any:
    """``rint(float32(x / 2**shift - 1/2))`` of integers x, where that is within -256..256; beyond, something as far.

    The number is rounded to a float32 first. So it becomes a tie, which goes to the even neighbour, where it is within half a
    unit in the last place of the float32 halfway between two integers.
    """
    quotient, rest = x >> shift, x & (1 << shift) - 1
    # Halfway below the quotient, and above: the float32's exponent, and how far from it ties reach.
    above = rest <= (1 << shift) >> MANTISSA + 1 - _bits(quotient - 1) + (quotient == 0)
    below = (1 << shift) - rest <= (1 << shift) >> MANTISSA + 1 - _bits(quotient) + (quotient == 0)
    return quotient + (quotient & 1) * (below.astype(np.int64) - above)


def _bits(n: Any) -> Any:
    """Bits of ``n``, or of its complement where it is negative; at most 8."""
    return np.minimum(np.frexp(np.where(n < 0, ~n, n).astype(np.float64))[1].astype(np.int64), 8)


def sums_of(node: Linear | GlobalAveragePool, graph: Graph) -> Sums:
    """The arithmetic of a node; ``HwgenError`` where the engine's formats are too narrow for it."""
    source, result = graph.tensors[node.inputs[0]], graph.tensors[node.output]
    away, up = stored(graph, source.name), stored(graph, result.name)
    if isinstance(node, Linear):
        weights, bias, scale, lo, hi = node.weights, node.bias, node.scale, node.lo, node.hi
    else:
        height, width, channels = source.shape
        weights, bias = np.ones((channels, 1, height, width), np.int64), np.zeros(channels, np.int64)
        scale, lo, hi = np.full(channels, node.scale, np.float32), result.type.integer.min, result.type.integer.max
    if weights.min() < -128 or weights.max() > 127:
        raise HwgenError(
            f"{node.name}: weights must be within -128..127 once their zero point is subtracted; quantise them symmetrically"
        )
    flat = weights.reshape(len(weights), -1).astype(np.int64)
    low, high = np.minimum(-128 * flat, 127 * flat).sum(1), np.maximum(-128 * flat, 127 * flat).sum(1)
    if max(-low.min(), high.max()) >> 31:
        raise HwgenError(f"{node.name}: sums of up to {max(-low.min(), high.max())} do not fit into 32 bits; {INSTEAD}")
    zero = source.type.zero_point - away
    bias = bias - zero * flat.sum(1)
    limits = (result.type.zero_point - up, lo - up, hi - up)
    ends = [reference(end, scale, *limits, bias) for end in (low, high)]  # it never falls while sums rise
    scale = np.where(ends[0] == ends[1], np.float32(0), scale)
    return Sums(
        name=node.name, weights=weights, bias=bias, scale=scale, constant=ends[0] - limits[0], low=low,
        high=high, zero=limits[0], lo=limits[1], hi=limits[2],
    )  # fmt: skip


def products_of(node: MatMul, graph: Graph) -> Sums:
    """The arithmetic of a product of two activations, of one channel as all have the same.

    The sum is of ``a * b - zero_a * b - zero_b * a``, stored values and zero points; what is left of the products of both less
    their zero points is the bias. ``HwgenError`` where the engine's formats are too narrow for it.
    """
    zeros = [graph.tensors[name].type.zero_point - stored(graph, name) for name in node.inputs]
    result, up = graph.tensors[node.output].type, stored(graph, node.output)
    ends = np.outer(*(np.array([-128 - zero, 127 - zero]) for zero in zeros)) * node.depth
    bias = np.array([node.depth * zeros[0] * zeros[1]])
    low, high = ends.min() - bias, ends.max() - bias
    if max(-low[0], high[0]) >> 31:
        raise HwgenError(f"{node.name}: sums of up to {max(-low[0], high[0])} do not fit into 32 bits; {SMALLER}")
    limits = (result.zero_point - up, node.lo - up, node.hi - up)
    scale = np.array([node.scale], np.float32)
    outputs = [reference(end, scale, *limits, bias) for end in (low, high)]
    return Sums(
        name=node.name, weights=np.zeros((1, node.depth), np.int64), bias=bias,
        scale=np.where(outputs[0] == outputs[1], np.float32(0), scale), constant=outputs[0] - limits[0], low=low, high=high,
        zero=limits[0], lo=limits[1], hi=limits[2],
    )  # fmt: skip


def scales_of(sums: Sums, first: int, count: int, engine: Engine) -> Scales:
    """Of some channels; ``HwgenError`` where the engine's formats are too narrow for them."""
    channels = slice(first, first + count)
    mantissa, exponent = np.frexp(sums.scale[channels].astype(np.float64))
    mantissa = (mantissa * (1 << MANTISSA)).astype(np.int64)  # scale = mantissa * 2**(exponent - MANTISSA)
    used = mantissa != 0
    least = MANTISSA - int(exponent[used].min()) if used.any() else 0  # bits behind the binary point
    for shift in range(max(1, -(-least // 4)), SHIFT_MAX // 4 + 1):
        places = np.where(used, 4 * shift - MANTISSA + exponent, 0)
        if places.max() > MULT_BITS - MANTISSA:
            break
        mult = mantissa << places
        steps = max(1, -(-int(mult.max()).bit_length() // engine.digit))
        while engine.place(shift, steps) >= PLACES:
            steps += 1
        half = 1 << 4 * shift - 1
        most = max(a * m + half for a, m in zip(sums.largest[channels].tolist(), mult.tolist(), strict=True))
        if engine.place(shift, steps) >= 0 and most >> TOTAL_BITS - 1 + engine.digit * (steps - 1) == 0 and most >> 63 == 0:
            constant = np.where(used, 0, sums.constant[channels] << 4 * shift)
            offset = sums.bias[channels] * mult + constant + half
            for channel in np.flatnonzero(sums.coarse[channels]).tolist():
                offset[channel] += _moved(sums, first + channel, int(mult[channel]), int(offset[channel]), 4 * shift)
            return Scales(mult=mult, offset=offset, shift=shift, steps=steps)
    raise HwgenError(
        f"{sums.name}: scales of output channels {first}..{first + count - 1}, from {sums.scale[channels].min():.3g} to "
        f"{sums.scale[channels].max():.3g}, do not fit into {MULT_BITS} bits; {INSTEAD}"
    )


def _moved(sums: Sums, channel: int, mult: int, offset: int, shift: int) -> int:
    """What to add to an offset as ONNX Runtime rounds large sums to float32: a few units of the sum move the few thresholds."""
    low, high = int(sums.low[channel]), int(sums.high[channel])
    if high - low <= MOST_SUMS:
        every = np.arange(low, high + 1)
        wanted = reference(every, sums.scale[channel], sums.zero, sums.lo, sums.hi, sums.bias[channel])
        for halves in sorted(range(-FARTHEST, FARTHEST + 1), key=abs):
            more = halves * mult // 2
            if (np.clip(nearest(every * mult + offset + more, shift) + sums.zero, sums.lo, sums.hi) == wanted).all():
                return more
    raise HwgenError(
        f"{sums.name}: ONNX Runtime rounds sums of up to {sums.largest[channel]} of output channel {channel}, with a scale of "
        f"{sums.scale[channel]:.3g}, as the overlay cannot; {INSTEAD}"
    )


@cache
def _add_block(a: QuantType, b: QuantType, y: QuantType, lo: int, hi: int) -> Any:
    """It takes seconds."""
    return add_block(a, b, y, lo, hi, lanes=1, words=1)


def tables_of(node: Add | Table, graph: Graph) -> Tables:
    """The arithmetic of a node; ``HwgenError`` where no two tables add up to it."""
    up = stored(graph, node.output)
    for name in node.inputs:
        stored(graph, name)
    if isinstance(node, Table):
        values = node.table.astype(np.int64) - up << SHIFTS[0]
        return Tables(a=values, b=np.zeros(256, np.int64), shift=SHIFTS[0], window=-1, odd=0, lo=-128, hi=127)
    first, second, result = (graph.tensors[name].type for name in (*node.inputs, node.output))
    params, contents = _add_block(first, second, result, node.lo, node.hi)
    if not isinstance(params, AddParams) or not isinstance(contents, AddTables) or params.fixes:
        raise HwgenError(f"{node.name}: no two tables add up to what ONNX Runtime computes; {INSTEAD}")
    shift = next((s for s in SHIFTS if s >= params.shift), params.shift)
    more = shift - params.shift
    a, b = contents.a - (up << params.shift) << more, contents.b << more
    if shift not in SHIFTS or max(-a.min(), a.max(), -b.min(), b.max()) >> 31:
        raise HwgenError(f"{node.name}: its tables need a shift of {shift} and more than 32 bits; {INSTEAD}")
    return Tables(
        a=a,
        b=b,
        shift=shift,
        window=params.window + more if params.window >= 0 else -1,
        odd=params.odd ^ (up & 1),
        lo=node.lo - up,
        hi=node.hi - up,
    )
