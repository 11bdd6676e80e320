"""Small networks, written as graphs."""

import numpy as np

from hwgen import graph as g
from hwgen.arith import IntType

INT8 = g.QuantType(integer=IntType(8), scale=0.5, zero_point=3)


def network(shape: tuple[int, int, int], *nodes: g.Node, kind: g.QuantType = INT8) -> g.Graph:
    """Of tensors of one type; the input is x."""
    tensors = {"x": g.Tensor(name="x", shape=shape, type=kind)}
    for node in nodes:
        made = g.output_shape(node, [tensors[i] for i in node.inputs])
        tensors[node.output] = g.Tensor(name=node.output, shape=made, type=kind)
    host = g.HostTensor(name="x", layout=g.Layout(axes=(0, 1, 2), shape=(1, *shape)), dtype="int8")
    return g.Graph(
        name="net", nodes=nodes, tensors=tensors, input="x", output=nodes[-1].output, host_input=host, host_output=host
    ).check()


def linear(weights: np.ndarray) -> dict[str, object]:
    return {
        "name": "sums", "inputs": ("x",), "output": "y", "weights": weights, "bias": np.zeros(len(weights), np.int64),
        "scale": np.full(len(weights), 0.01, np.float32), "lo": -128, "hi": 127,
    }  # fmt: skip


def conv(outputs: int, inputs: int, size: int = 1, **options: object) -> g.Conv:
    return g.Conv(**linear(np.ones((outputs, inputs, size, size), np.int64)), kernel=(size, size), **options)


def dense(outputs: int, inputs: int) -> g.Dense:
    return g.Dense(**linear(np.ones((outputs, inputs), np.int64)))


def pool(**options: object) -> g.MaxPool:
    return g.MaxPool(name="pool", inputs=("x",), output="y", **options)
