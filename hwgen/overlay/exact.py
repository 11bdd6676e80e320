"""Exact arithmetic in the engine's number formats."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..errors import HwgenError
from ..graph import Add, GlobalAveragePool, Graph, Linear, Table
from ..requantise import Requantisation, requantise, requantise_at
from ..templates.add import AddParams, AddTables, add_block
from .engine import Engine
from .isa import PLACES, SHIFTS

__all__ = ["INSTEAD", "Sums", "Tables", "stored", "sums_of", "tables_of"]

MULT_BITS, SHIFT_MAX, TOTAL_BITS = 32, 40, 41  #: of a requantiser; of its running sum at the end
INSTEAD = "use --style dataflow"
FINEST, COARSEST = 20, 13  #: bits of a quotient's fraction that decide on a tie


@dataclass(frozen=True, kw_only=True, eq=False)
class Sums:
    """Weighted sums of stored activations, and what is made of them.

    Parameters
    ----------
    weights
        int8, output channels first.
    exact
        Of a shift that 4 divides.
    steps
        Digits of the multipliers.
    """

    weights: np.ndarray
    exact: Requantisation
    steps: int
    lo: int
    hi: int

    @property
    def shift(self) -> int:
        """The field of :class:`hwgen.overlay.isa.Drain`."""
        return self.exact.shift // 4

    @property
    def window(self) -> int:
        """The field of :class:`hwgen.overlay.isa.Drain`."""
        return 0 if self.exact.window < 0 else self.exact.shift - self.exact.window - 12


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


def sums_of(node: Linear | GlobalAveragePool, graph: Graph, engine: Engine) -> Sums:
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
    arguments = (scale, result.type.zero_point - up, lo - up, hi - up, bias - zero * flat.sum(1), low, high)
    exact = requantise(*arguments)
    if exact.window >= 0 and not COARSEST <= exact.shift - exact.window <= FINEST:
        exact = _within(arguments, exact)
    weights = weights * (exact.mult != 0).reshape(-1, *(1,) * (weights.ndim - 1))
    largest = np.maximum(-low, high)
    for more in range(-exact.shift % 4, SHIFT_MAX - exact.shift + 1, 4):
        finer = _finer(exact, more)
        steps = _steps(finer, engine)
        made = Sums(weights=weights, exact=finer, steps=steps, lo=lo - up, hi=hi - up)
        fits = _largest(finer, largest) >> TOTAL_BITS - 1 + engine.digit * (steps - 1) == 0
        if (
            fits
            and finer.mult.max() >> MULT_BITS == 0
            and 0 <= made.window <= 8
            and 0 <= engine.place(made.shift, steps) < PLACES
        ):
            return made
    raise HwgenError(
        f"{node.name}: requantising as ONNX Runtime does takes a multiplier of {int(exact.mult.max()).bit_length()} bits, "
        f"a shift of {exact.shift} and {exact.shift - exact.window} bits for ties, more than the engine has; {INSTEAD}"
    )


def _finer(exact: Requantisation, bits: int) -> Requantisation:
    """The same with so many more bits behind the binary point."""
    return replace(
        exact,
        shift=exact.shift + bits,
        window=exact.window + bits if exact.window >= 0 else -1,
        mult=exact.mult << bits,
        offset=exact.offset << bits,
    )


def _steps(exact: Requantisation, engine: Engine) -> int:
    """Digits of the largest multiplier; more where the engine's binary point wants it."""
    steps = max(1, -(-int(exact.mult.max()).bit_length() // engine.digit))
    while engine.place(exact.shift // 4, steps) >= PLACES:
        steps += 1
    return steps


def _largest(exact: Requantisation, sums: np.ndarray) -> int:
    """The largest of what is shifted."""
    return max(s * m + abs(o) for s, m, o in zip(sums.tolist(), exact.mult.tolist(), exact.offset.tolist(), strict=True))


def _within(arguments: tuple[Any, ...], least: Requantisation) -> Requantisation:
    """With as many bits for ties as the engine compares; ``least`` where there is none."""
    for shift in range(max(least.shift, FINEST), SHIFT_MAX):
        for bits in range(COARSEST, FINEST + 1):
            found = requantise_at(*arguments, shift=shift, window=shift - bits, fixes=0)
            if found is not None:
                return found
    return least


def tables_of(node: Add | Table, graph: Graph) -> Tables:
    """The arithmetic of a node; ``HwgenError`` where no two tables add up to it."""
    up = stored(graph, node.output)
    for name in node.inputs:
        stored(graph, name)
    if isinstance(node, Table):
        values = node.table.astype(np.int64) - up << SHIFTS[0]
        return Tables(a=values, b=np.zeros(256, np.int64), shift=SHIFTS[0], window=-1, odd=0, lo=-128, hi=127)
    first, second, result = (graph.tensors[name].type for name in (*node.inputs, node.output))
    params, contents = add_block(first, second, result, node.lo, node.hi, lanes=1, words=1)
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
