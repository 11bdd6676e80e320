"""Attention without its softmax, as QDQ networks: projections, products of activations for each head, projection back."""

from dataclasses import dataclass

import numpy as np
import onnx

from tests.frontend.builder import Model


@dataclass(frozen=True, kw_only=True)
class Attention:
    """A network on an input (1, ``rows``, ``channels``).

    Parameters
    ----------
    heads, depth
        Products of queries and keys: for each head sums of so many.
    values
        Channels of each head's values; 0: the output is the products of queries and keys.
    zeros
        Zero points of queries, keys, scores, values, and of what the last product makes.
    scales
        Likewise.
    function
        Between the two products, in the place of a softmax.
    back
        Whether the heads are joined and projected.
    seed
        Of weights.
    """

    rows: int
    channels: int = 6
    heads: int = 1
    depth: int = 4
    values: int = 0
    zeros: tuple[int, ...] = (0, 0, 0, 0, 0)
    scales: tuple[float, ...] = (0.05, 0.05, 0.1, 0.05, 0.1)
    function: str = "Sigmoid"
    back: bool = False
    dtype: type = np.int8
    seed: int = 0


def build(a: Attention) -> onnx.ModelProto:
    """The network, each operator between DequantizeLinear and QuantizeLinear."""
    m = Model(a.dtype)
    middle = 0 if a.dtype == np.int8 else 128

    def quantised(x: str, k: int) -> str:
        return m.dq(m.q(x, a.scales[k], a.zeros[k] + middle), a.scales[k], a.zeros[k] + middle)

    def heads(width: int, k: int, *perm: int) -> str:
        """A projection, (1, heads, rows, width) transposed by ``perm``."""
        w = m.weights((a.channels, a.heads * width), axis=1, seed=a.seed + k)
        made = quantised(m.op("MatMul", x, w), k)
        if a.heads > 1:
            made = m.op("Reshape", made, m.const(np.array([1, a.rows, a.heads, width])))
        return m.op("Transpose", made, perm=perm) if perm else made

    x = m.dq("x", 0.02, 3)
    several = a.heads > 1
    query = heads(a.depth, 0, *((0, 2, 1, 3) if several else ()))
    key = heads(a.depth, 1, *((0, 2, 3, 1) if several else (0, 2, 1)))
    y = quantised(m.op("MatMul", query, key), 2)
    if a.values:
        if a.function:
            scale, zero = (1 / 128, 0) if a.dtype == np.int8 else (1 / 256, 0)
            y = m.dq(m.q(m.op(a.function, y), scale, zero), scale, zero)
        y = quantised(m.op("MatMul", y, heads(a.values, 3, *((0, 2, 1, 3) if several else ()))), 4)
    if a.back:
        width = a.values or a.rows
        if several:
            y = m.op("Reshape", m.op("Transpose", y, perm=[0, 2, 1, 3]), m.const(np.array([1, a.rows, a.heads * width])))
        w = m.weights((a.heads * width, a.channels), axis=1, seed=a.seed + 5)
        y = m.dq(m.q(m.op("MatMul", y, w), 0.02, 3), 0.02, 3)
        y = m.op("Add", x, y)
        return m.build((1, a.rows, a.channels), m.q(y, 0.03, 5))
    return m.build((1, a.rows, a.channels), m.nodes[-1].input[0])
