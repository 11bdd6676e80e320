"""A network as if trained again: other weights, biases, scales and zero points in the same QDQ model."""

import numpy as np
import onnx
from onnx import numpy_helper

__all__ = ["retrained"]


def retrained(model: onnx.ModelProto, seed: int) -> onnx.ModelProto:
    """A copy of ``model``: weights moved by up to 20, scales by up to a third, zero points within their limits by up to 9."""
    rng = np.random.default_rng(seed)
    made = onnx.ModelProto()
    made.CopyFrom(model)
    tensors = {t.name: t for t in made.graph.initializer}
    values = {name: numpy_helper.to_array(t) for name, t in tensors.items()}
    producers = {output: node for node in made.graph.node for output in node.output}
    biases = []
    for node in made.graph.node:
        if node.op_type == "DequantizeLinear" and node.input[0] in values:
            stored, scale = values[node.input[0]], node.input[1]
            if stored.dtype == np.int32:
                values[node.input[0]] = stored + rng.integers(-200, 201, stored.shape, np.int32)
                continue
            limits = np.iinfo(stored.dtype)
            moved = stored.astype(int) + rng.integers(-20, 21, stored.shape)
            values[node.input[0]] = np.clip(moved, limits.min, limits.max).astype(stored.dtype)
            values[scale] = (values[scale] * rng.uniform(0.75, 1.33, values[scale].shape)).astype(np.float32)
        elif node.op_type == "QuantizeLinear":
            scale, zero = values[node.input[1]], values[node.input[2]]
            limits = np.iinfo(zero.dtype)
            softmax = producers[node.input[0]].op_type == "Softmax" if node.input[0] in producers else False
            if not softmax:
                values[node.input[1]] = (scale * rng.uniform(0.75, 1.33, scale.shape)).astype(np.float32)
                if limits.min < zero < limits.max:
                    values[node.input[2]] = np.clip(zero + rng.integers(-9, 10), limits.min, limits.max).astype(zero.dtype)
        elif node.op_type in ("Conv", "Gemm") and len(node.input) == 3:
            biases.append([producers[name] for name in node.input])
        elif node.op_type == "Add" and any(producers[name].op_type == "MatMul" for name in node.input):
            product, bias = sorted((producers[name] for name in node.input), key=lambda n: n.op_type != "MatMul")
            biases.append([*(producers[name] for name in product.input), bias])
    for x, w, b in biases:
        values[b.input[1]] = (values[x.input[1]] * values[w.input[1]]).astype(np.float32).reshape(values[b.input[1]].shape)
    for name, tensor in tensors.items():
        tensor.CopyFrom(numpy_helper.from_array(np.asarray(values[name]).reshape(tuple(tensor.dims)), name))
    return made
