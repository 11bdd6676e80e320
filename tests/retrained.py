"""A network as if trained again: other weights, biases, scales and zero points in the same QDQ model."""

import numpy as np
import onnx
from onnx import numpy_helper

__all__ = ["retrained"]


def retrained(model: onnx.ModelProto, seed: int) -> onnx.ModelProto:
    """A copy of ``model``: weights moved by up to 20, scales by up to a third, zero points within their limits by up to 9.

    Tensors of one type stay of one type; softmax's output keeps its own.
    """
    rng = np.random.default_rng(seed)
    made = onnx.ModelProto()
    made.CopyFrom(model)
    values = {t.name: numpy_helper.to_array(t) for t in made.graph.initializer}
    producers = {output: node for node in made.graph.node for output in node.output}
    types: dict[bytes, tuple[np.ndarray, np.ndarray]] = {}
    changed: dict[str, np.ndarray] = {}

    def key(node: onnx.NodeProto) -> bytes:
        return b"".join(values[name].tobytes() for name in node.input[1:])

    for node in made.graph.node:
        if node.op_type == "QuantizeLinear" and node.input[0] in producers and producers[node.input[0]].op_type == "Softmax":
            types[key(node)] = values[node.input[1]], values[node.input[2]]
    for node in made.graph.node:
        if node.op_type not in ("QuantizeLinear", "DequantizeLinear"):
            continue
        stored, scale = values.get(node.input[0]), values[node.input[1]]
        if stored is None:
            zero = values[node.input[2]]
            limits = np.iinfo(zero.dtype)
            if key(node) not in types:
                inside = limits.min < zero < limits.max
                moved = np.clip(zero + inside * rng.integers(-9, 10), limits.min, limits.max).astype(zero.dtype)
                types[key(node)] = (scale * rng.uniform(0.75, 1.33)).astype(np.float32), moved
            changed |= dict(zip(node.input[1:], types[key(node)], strict=True))
        elif stored.dtype == np.int32:
            changed[node.input[0]] = stored + rng.integers(-200, 201, stored.shape, np.int32)
        else:
            limits = np.iinfo(stored.dtype)
            moved = stored.astype(int) + rng.integers(-20, 21, stored.shape)
            changed[node.input[0]] = np.clip(moved, limits.min, limits.max).astype(stored.dtype)
            changed[node.input[1]] = (scale * rng.uniform(0.75, 1.33, scale.shape)).astype(np.float32)
    values |= changed
    for x, w, b in _biases(made, producers):
        product = values[x.input[1]] * values[w.input[1]]
        values[b.input[1]] = product.astype(np.float32).reshape(values[b.input[1]].shape)
    for tensor in made.graph.initializer:
        array = np.asarray(values[tensor.name]).reshape(tuple(tensor.dims))
        tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    return made


def _biases(model: onnx.ModelProto, producers: dict[str, onnx.NodeProto]) -> list[list[onnx.NodeProto]]:
    """What dequantises operand, weights and bias of each layer that has one."""
    found = []
    for node in model.graph.node:
        makers = [producers.get(name) for name in node.input]
        if node.op_type in ("Conv", "Gemm") and len(makers) == 3:
            found.append(makers)
        elif node.op_type == "Add" and any(m.op_type == "MatMul" for m in makers):
            product, bias = sorted(makers, key=lambda m: m.op_type != "MatMul")
            found.append([*(producers[name] for name in product.input), bias])
    return found
