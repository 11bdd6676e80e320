"""Write small quantised ONNX models in a few lines, and compute a graph's integers in plain NumPy."""

from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from hwgen import graph as g


class Model:
    """An ONNX model under construction; methods return tensor names. ``dtype``: of activations."""

    def __init__(self, dtype: Any = np.int8, opset: int = 17):
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.dtype, self.opset = dtype, opset

    def const(self, value: Any, name: str = "") -> str:
        name = name or f"k{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def op(self, kind: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        name = f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [f"{name}:0"], name, domain=domain, **attributes))
        return f"{name}:0"

    def dq(self, x: str, scale: float = 0.02, zero: int = 3) -> str:
        return self.op("DequantizeLinear", x, self.const(np.float32(scale)), self.const(self.dtype(zero)))

    def q(self, x: str, scale: float = 0.1, zero: int = 5) -> str:
        return self.op("QuantizeLinear", x, self.const(np.float32(scale)), self.const(self.dtype(zero)))

    def weights(self, shape: tuple[int, ...], axis: int | None = 0, dtype: Any = np.int8, zero: int = 0, seed: int = 0) -> str:
        info = np.iinfo(dtype)
        rng = np.random.default_rng(seed)
        w = rng.integers(max(info.min, -127), info.max + 1, shape).astype(dtype)
        if axis is None:
            return self.op("DequantizeLinear", self.const(w), self.const(np.float32(0.01)), self.const(dtype(zero)))
        scale = rng.uniform(0.004, 0.02, shape[axis]).astype(np.float32)
        zeros = np.full(shape[axis], zero, dtype)
        return self.op("DequantizeLinear", self.const(w), self.const(scale), self.const(zeros), axis=axis)

    def bias(self, weights: str, x_scale: float = 0.02, seed: int = 1) -> str:
        """int32, in units of ``x_scale`` times the scale of ``weights``."""
        node = next(n for n in self.nodes if weights in n.output)
        scale = next(numpy_helper.to_array(c) for c in self.constants if c.name == node.input[1]) * np.float32(x_scale)
        w = next(numpy_helper.to_array(c) for c in self.constants if c.name == node.input[0])
        axis = next((a.i for a in node.attribute if a.name == "axis"), None)
        channels = scale.size if scale.ndim else (w.shape[0] if axis is None else w.shape[axis])
        b = np.random.default_rng(seed).integers(-3000, 3000, channels).astype(np.int32)
        return self.op(
            "DequantizeLinear", self.const(b), self.const(scale), self.const(np.zeros(scale.shape, np.int32)), axis=0
        )

    def build(self, shape: tuple[Any, ...], out: str, dtype: Any = None, out_dtype: Any = None) -> onnx.ModelProto:
        def info(name: str, dtype: Any, shape: Any) -> onnx.ValueInfoProto:
            return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), shape)

        output = onnx.ValueInfoProto(name=out)
        output.type.tensor_type.elem_type = helper.np_dtype_to_tensor_dtype(np.dtype(out_dtype or self.dtype))
        graph = helper.make_graph(self.nodes, "net", [info("x", dtype or self.dtype, shape)], [output], self.constants)
        opsets = [helper.make_opsetid("", self.opset), helper.make_opsetid("com.microsoft", 1)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def compute(graph: g.Graph, frames: np.ndarray) -> dict[str, np.ndarray]:
    """Every tensor (N, H, W, C) of ``graph`` for integer ``frames``."""
    values = {graph.input: frames.astype(np.int64)}
    for node in graph.nodes:
        types = [graph.tensors[i].type for i in node.inputs]
        values[node.output] = _node(node, [values[i] for i in node.inputs], types, graph.tensors[node.output].type)
        assert values[node.output].shape[1:] == graph.tensors[node.output].shape
    return values


def _windows(x: np.ndarray, node: Any, fill: Any, dilations: tuple[int, int]) -> np.ndarray:
    """(N, OH, OW, kh, kw, C)."""
    top, left, bottom, right = node.pads
    x = np.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)), constant_values=fill)
    (kh, kw), (sh, sw), (dh, dw) = node.kernel, node.strides, dilations
    oh, ow = (x.shape[1] - dh * (kh - 1) - 1) // sh + 1, (x.shape[2] - dw * (kw - 1) - 1) // sw + 1
    rows = np.arange(oh)[:, None] * sh + np.arange(kh) * dh
    columns = np.arange(ow)[:, None] * sw + np.arange(kw) * dw
    return x[:, rows[:, None, :, None], columns[None, :, None, :]]


def _requantise(acc: np.ndarray, scale: Any, zero: int, lo: int, hi: int) -> np.ndarray:
    return np.clip(np.rint(acc.astype(np.float32) * np.float32(scale)).astype(np.int64) + zero, lo, hi)


def _node(node: g.Node, x: list[np.ndarray], types: list[g.QuantType], out: g.QuantType) -> np.ndarray:
    zero, lo, hi = out.zero_point, out.integer.min, out.integer.max
    match node:
        case g.Conv():
            windows = _windows(x[0], node, types[0].zero_point, node.dilations) - types[0].zero_point
            split = windows.reshape(*windows.shape[:5], node.groups, -1)
            w = node.weights.reshape(node.groups, -1, *node.weights.shape[1:])
            acc = np.einsum("nhwyxgi,goiyx->nhwgo", split.astype(np.float64), w.astype(np.float64)).astype(np.int64)
            return _requantise(acc.reshape(*acc.shape[:3], -1) + node.bias, node.scale, zero, node.lo, node.hi)
        case g.Dense():
            acc = (x[0].reshape(len(x[0]), -1) - types[0].zero_point) @ node.weights.T + node.bias
            return _requantise(acc, node.scale, zero, node.lo, node.hi)[:, None, None]
        case g.MatMul():
            a, b = (v.reshape(len(v), -1, node.groups, node.depth) - t.zero_point for v, t in zip(x, types, strict=True))
            if not node.transposed:
                b = (x[1] - types[1].zero_point).reshape(len(b), node.depth, node.groups, -1).transpose(0, 3, 2, 1)
            return _requantise(np.einsum("fmgk,fngk->fmgn", a, b), node.scale, zero, node.lo, node.hi)
        case g.MaxPool():
            return _windows(x[0], node, types[0].integer.min, node.dilations).max((3, 4))
        case g.GlobalAveragePool():
            return _requantise((x[0] - types[0].zero_point).sum((1, 2), keepdims=True), node.scale, zero, lo, hi)
        case g.AveragePool():
            real = (x[0] - types[0].zero_point).astype(np.float32) * np.float32(types[0].scale)
            windows = _windows(real, node, 0, (1, 1))
            total = np.zeros(windows.shape[:3] + windows.shape[-1:], np.float32)
            for y in range(node.kernel[0]):
                for k in range(node.kernel[1]):
                    total = total + windows[:, :, :, y, k]
            inside = _windows(np.ones_like(real), node, 1 if node.count_include_pad else 0, (1, 1)).sum((3, 4))
            mean = total / inside.astype(np.float32) / np.float32(out.scale)
            return np.clip(np.rint(mean + np.float32(zero)).astype(np.int64), lo, hi)
        case g.Add():
            ra, rb = (np.float64(np.float32(t.scale) / np.float32(out.scale)) for t in types)
            za, zb = (t.zero_point for t in types)
            c = np.float64(np.float32(zero - (ra * za + np.float64(np.float32(rb * zb)))))
            inner = np.float64(np.float32(rb * x[1] + c))
            return np.clip(np.rint(np.float32(ra * x[0] + inner)).astype(np.int64), node.lo, node.hi)
        case g.Table():
            return node.table[x[0] - types[0].integer.min]
        case g.Concat():
            return np.concatenate(x, -1)
        case g.Pad():
            top, left, bottom, right = node.pads
            return np.pad(x[0], ((0, 0), (top, bottom), (left, right), (0, 0)), constant_values=node.value)
        case g.ArgMax():
            return x[0].shape[-1] - 1 - x[0][..., ::-1].argmax(-1)[..., None] if node.last else x[0].argmax(-1)[..., None]
        case g.Softmax():
            e = np.exp((x[0] - x[0].max(-1, keepdims=True)) * types[0].scale)
            levels = np.floor(np.float32(1) / np.float32(out.scale))  # as QLinearSoftmax
            return np.clip(np.rint(e / e.sum(-1, keepdims=True) * levels).astype(np.int64) + zero, lo, hi)
    raise TypeError(node)
