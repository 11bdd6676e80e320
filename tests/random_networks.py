"""Small random quantised networks: the operators, sizes and scales that hwgen accepts, as QDQ ONNX models.

``build`` makes a model of a :class:`~tests.network_specs.NetworkSpec`. Every description makes a valid one: kernels, groups and
the like are cut to what fits. Output types are calibrated as a quantiser would do it, so that not much saturates, and every sum
runs as an integer kernel in the reference mode (``float_sums`` is empty). With hypothesis: ``@given(specs())``.
"""

from dataclasses import dataclass
from itertools import zip_longest

import numpy as np
import onnx
from onnx import helper, numpy_helper

from hwgen.oracle import Oracle

from .network_specs import (
    Branch,
    Conv,
    Dense,
    Layer,
    NetworkSpec,
    Pad,
    Pool,
    Unary,
    Weights,
    random_spec,
    specs,
)  # fmt: skip

__all__ = ["NetworkSpec", "build", "frames", "random_network", "random_spec", "specs"]


def random_network(rng: np.random.Generator) -> tuple[onnx.ModelProto, np.ndarray]:
    """A random model and 8 frames for its input, (8, C, H, W) float32, int8 or uint8."""
    spec = random_spec(rng)
    return build(spec), frames(spec)


def frames(spec: NetworkSpec, n: int = 8) -> np.ndarray:
    """n frames for the model's input: the extremes first, then random ones."""
    h, w, c = spec.size
    limits = np.iinfo(_activation(spec))
    rng = np.random.default_rng([spec.seed, 1])
    quantised = rng.integers(limits.min, limits.max + 1, (max(n, 2), c, h, w))
    quantised[0], quantised[1] = limits.min, limits.max
    if not spec.real:
        return quantised[:n].astype(_activation(spec))
    scale, zero = _input_type(spec)
    return ((quantised[:n] - zero + rng.uniform(-0.4, 0.4, quantised[:n].shape)) * scale).astype(np.float32)


def build(spec: NetworkSpec) -> onnx.ModelProto:
    """The model; the same bytes for the same description."""
    real = _Builder(spec, None)
    values = Oracle(real.model()).run(frames(spec, 6), real.measured)
    ranges = {n: (float(values[n].min()), float(values[n].max())) for n in real.measured}
    return _Builder(spec, ranges).model()


@dataclass(frozen=True, kw_only=True)
class _Value:
    """A real tensor that carries quantised values: its name, (C, H, W) or (C,), scale and zero point."""

    name: str
    shape: tuple[int, ...]
    scale: np.float32
    zero: int


def _refused(pad: Pad, following: Layer | None) -> bool:
    """Whether ONNX Runtime would fuse the Pad into the pool that follows, and refuse as much padding as kernel."""
    return isinstance(following, Pool) and max(pad.pads) + max(following.pads) >= min(following.kernel)


def _activation(spec: NetworkSpec) -> np.dtype:
    return np.dtype(np.uint8 if spec.unsigned else np.int8)


def _input_type(spec: NetworkSpec) -> tuple[np.float32, int]:
    rng = np.random.default_rng([spec.seed, 2])
    limits = np.iinfo(_activation(spec))
    scale = 2.0 ** (rng.integers(-8, -3) if rng.random() < 0.3 else rng.uniform(-8, -3))
    return np.float32(scale), int(rng.choice([limits.min, limits.min + 128, rng.integers(limits.min, limits.max + 1)]))


class _Builder:
    """Makes the nodes, twice in the same order: without ``ranges`` (real numbers, to be measured), then quantised."""

    def __init__(self, spec: NetworkSpec, ranges: dict[str, tuple[float, float]] | None) -> None:
        self.spec, self.ranges = spec, ranges
        self.rng = np.random.default_rng([spec.seed, 0])
        self.dtype = _activation(spec)
        self.limits = np.iinfo(self.dtype)
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.measured: list[str] = []
        self.operators = 0

    def model(self) -> onnx.ModelProto:
        h, w, c = self.spec.size
        scale, zero = _input_type(self.spec)
        if self.spec.real:
            quantised, kind = self.op("QuantizeLinear", ["x", *self.type_of(scale, zero)]), onnx.TensorProto.FLOAT
        else:
            quantised, kind = "x", helper.np_dtype_to_tensor_dtype(self.dtype)
        real = self.op("DequantizeLinear", [quantised, *self.type_of(scale, zero)])
        out = self.head(self.chain(self.spec.layers, _Value(name=real, shape=(c, h, w), scale=scale, zero=zero)))
        last = self.nodes[-1]
        if self.ranges is not None and not self.spec.real and last.op_type == "DequantizeLinear" and len(self.nodes) > 1:
            self.nodes.pop()  # the output is the quantised tensor
            out = last.input[0]
        graph = helper.make_graph(
            self.nodes,
            "random",
            [helper.make_tensor_value_info("x", kind, [1, c, h, w])],
            [onnx.ValueInfoProto(name=out)],
            self.constants,
        )
        made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
        return onnx.shape_inference.infer_shapes(made, strict_mode=True)

    def chain(self, layers: tuple[Layer, ...], x: _Value, keep: bool = False) -> _Value:
        """``keep``: no layer may change the image's height and width."""
        for layer, following in zip_longest(layers, layers[1:]):
            match layer:
                case Conv():
                    x = self.conv(layer, x, keep)
                case Pool():
                    x = self.pool(layer, x, keep)
                case Unary():
                    x = self.unary(layer, x)
                case Pad():
                    x = x if keep or _refused(layer, following) else self.pad(layer, x)
                case Branch():
                    x = self.branch(layer, x, keep)
        return x

    def head(self, x: _Value) -> str:
        spec = self.spec
        if spec.pool:
            attributes = {"kernel_shape": list(x.shape[1:])} if spec.pool == "AveragePool" else {}
            x = self.quantise(self.op(spec.pool, [x.name], **attributes), (x.shape[0], 1, 1), "real", x)
        if not (spec.pool or spec.dense):
            return x.name
        flat = self.op("Flatten", [x.name])
        x = self.quantise(flat, (int(np.prod(x.shape)),), "of the input", x)
        for layer in spec.dense:
            x = self.dense(layer, x)
        if spec.ending == "Softmax" and x.shape[0] > 2:  # with one or two ONNX Runtime's kernel overflows
            x = self.quantise(self.op("Softmax", [x.name], axis=1), x.shape, "softmax", x)
        if spec.ending == "ArgMax":
            return self.op("ArgMax", [x.name], axis=1, keepdims=1, select_last_index=int(self.rng.integers(2)))
        return x.name

    # ---- layers

    def conv(self, layer: Conv, x: _Value, keep: bool) -> _Value:
        c, *size = x.shape
        kernel, dilations, strides = layer.kernel, layer.dilations, (1, 1) if keep else layer.strides
        pads = np.minimum(np.reshape(layer.pads, (2, 2)), np.array(kernel) - 1)
        kernel = tuple(min(k, s + int(p)) for k, s, p in zip(kernel, size, pads.sum(0), strict=True))
        dilations = tuple(
            d if d * (k - 1) < s + p else 1 for d, k, s, p in zip(dilations, kernel, size, pads.sum(0), strict=True)
        )
        if keep:
            whole = [d * (k - 1) for d, k in zip(dilations, kernel, strict=True)]
            pads = np.array([[t // 2 for t in whole], [t - t // 2 for t in whole]])
        groups = c if layer.groups == 0 else layer.groups if c % layer.groups == 0 else 1
        out = -(-layer.channels // groups) * groups
        attributes = {
            "kernel_shape": kernel, "strides": strides, "dilations": dilations, "pads": pads.ravel().tolist(), "group": groups
        }  # fmt: skip
        weights, bias = self.weights(layer.weights, (out, c // groups, *kernel), 0, x)
        y = self.activated(self.op("Conv", [x.name, weights, *bias], **attributes), layer.activation)
        spans = [
            (s + int(p) - d * (k - 1) - 1) // t + 1
            for s, p, d, k, t in zip(size, pads.sum(0), dilations, kernel, strides, strict=True)
        ]
        return self.quantise(y, (out, *spans), layer.scale, x, minimum=bool(layer.activation))

    def dense(self, layer: Dense, x: _Value) -> _Value:
        weights, bias = self.weights(layer.weights, (x.shape[0], layer.channels), 1, x)
        y = self.op("MatMul" if layer.matmul else "Gemm", [x.name, weights, *(() if layer.matmul else bias)])
        if layer.matmul and bias:
            y = self.op("Add", [y, *bias])
        y = self.activated(y, layer.activation)
        return self.quantise(y, (layer.channels,), layer.scale, x, minimum=bool(layer.activation))

    def pool(self, layer: Pool, x: _Value, keep: bool) -> _Value:
        c, *size = x.shape
        kernel = [min(k, s) for k, s in zip(layer.kernel, size, strict=True)]
        strides = [1, 1] if keep else list(layer.strides)
        pads = np.minimum(np.reshape(layer.pads, (2, 2)), np.array(kernel) - 1)
        if keep:
            pads = np.array([[(k - 1) // 2 for k in kernel], [k // 2 for k in kernel]])
        more = {"count_include_pad": int(layer.include_pad)} if layer.operator == "AveragePool" else {}
        y = self.op(layer.operator, [x.name], kernel_shape=kernel, strides=strides, pads=pads.ravel().tolist(), **more)
        spans = [(s + int(p) - k) // t + 1 for s, p, k, t in zip(size, pads.sum(0), kernel, strides, strict=True)]
        return self.quantise(y, (c, *spans), layer.scale, x)

    def unary(self, layer: Unary, x: _Value) -> _Value:
        more = {"alpha": float(self.rng.uniform(0.01, 0.4))} if layer.operator == "LeakyRelu" else {}
        limits = [self.constant(np.float32(v)) for v in (0, 6)] if layer.operator == "Clip" else []
        return self.quantise(self.op(layer.operator, [x.name, *limits], **more), x.shape, layer.scale, x)

    def pad(self, layer: Pad, x: _Value) -> _Value:
        top, left, bottom, right = layer.pads
        value = np.float32(np.clip(layer.value, self.limits.min - x.zero, self.limits.max - x.zero) * x.scale)
        pads = self.constant(np.array([0, 0, top, left, 0, 0, bottom, right]))
        y = self.op("Pad", [x.name, pads, self.constant(value)])
        c, h, w = x.shape
        return self.quantise(y, (c, h + top + bottom, w + left + right), "of the input", x)

    def branch(self, layer: Branch, x: _Value, keep: bool) -> _Value:
        ends = []
        for k, side in enumerate((layer.left, layer.right)):
            start = x
            if layer.halve and not keep:
                edge = 1 - k  # 3×3 with padding, 1×1
                kernel, pads = (1 + 2 * edge,) * 2, (edge,) * 4
                start = self.conv(Conv(channels=x.shape[0], kernel=kernel, strides=(2, 2), pads=pads), x, False)
            ends.append(self.chain(side, start, keep=True))
        left, right = ends
        if layer.join == "Add" and left.shape != right.shape:
            right = self.conv(Conv(channels=left.shape[0]), right, True)
        more = {"axis": 1} if layer.join == "Concat" else {}
        y = self.op(layer.join, [left.name, right.name], **more)
        activation = layer.activation if layer.join == "Add" else ""
        channels = left.shape[0] + (right.shape[0] if layer.join == "Concat" else 0)
        y = self.activated(y, activation)
        return self.quantise(y, (channels, *left.shape[1:]), layer.scale, left, minimum=bool(activation))

    def activated(self, y: str, activation: str) -> str:
        if not activation:
            return y
        return self.op(activation, [y, *([self.constant(np.float32(v)) for v in (0, 6)] if activation == "Clip" else [])])

    # ---- quantisation

    def weights(self, how: Weights, shape: tuple[int, ...], axis: int, x: _Value) -> tuple[str, list[str]]:
        """Names of the real weights and, if there is one, the bias (in a list); output channels are ``axis``."""
        out, rng = shape[axis], self.rng
        dtype = np.dtype(np.uint8 if self.spec.unsigned_weights else np.int8)
        limits = np.iinfo(dtype)
        n = out if how.per_channel else 1
        values = rng.integers(limits.min + (dtype == np.int8), limits.max + 1, shape)
        zeros = rng.integers(limits.min + 90, limits.max - 90, n) if how.asymmetric else np.full(n, limits.min + 128)
        gain = 1 / (75 * np.sqrt(values.size / out))  # keeps the variance
        scales = (gain * 2.0 ** rng.uniform(-1, 1, n)).astype(np.float32)
        if how.power_of_two:
            scales = (2.0 ** np.rint(np.log2(scales))).astype(np.float32)
        along = {"axis": axis} if how.per_channel else {}
        pick = (lambda a: a) if how.per_channel else (lambda a: a[0])
        inputs = [values.astype(dtype), pick(scales), pick(zeros.astype(dtype))]
        weights = self.op("DequantizeLinear", [self.constant(a) for a in inputs], **along)
        if not how.bias:
            return weights, []
        steps = (x.scale * scales).astype(np.float32)
        bias = np.rint(rng.normal(0, 30 * float(_input_type(self.spec)[0]), out) / steps).astype(np.int32)
        inputs = [bias, pick(steps), pick(np.zeros(n, np.int32))]
        return weights, [self.op("DequantizeLinear", [self.constant(a) for a in inputs], **({"axis": 0} if along else {}))]

    def quantise(self, real: str, shape: tuple[int, ...], how: str, x: _Value, minimum: bool = False) -> _Value:
        """Quantise and dequantise ``real``; ``x`` is its producer's input; ``minimum``: zero point at the type's minimum."""
        jitter = self.rng.uniform(0.9, 1.3)
        if self.ranges is None:
            self.measured.append(real)
            return _Value(name=real, shape=shape, scale=x.scale, zero=x.zero)
        lo, hi = (f(v, 0.0) for f, v in zip((min, max), self.ranges[real], strict=True))
        clipped = self.nodes[-1].op_type == "Clip"  # the type must not reach beyond the upper bound, or Clip stays
        scale = max(hi - lo, 1e-3) / 255 * (1 if clipped else jitter)
        if how == "power of two":
            scale = 2.0 ** (np.floor if clipped else np.ceil)(np.log2(scale))
        zero = int(np.clip(np.rint(self.limits.min - lo / scale), self.limits.min, self.limits.max))
        if minimum:
            zero = self.limits.min
        elif how == "softmax":
            scale, zero = 1 / 256, self.limits.min
        elif how == "of the input":
            scale, zero = x.scale, x.zero
        elif how == "symmetric":
            scale, zero = max(hi, -lo, 1e-3) / 127, self.limits.min + 128
        quantised = self.op("QuantizeLinear", [real, *self.type_of(np.float32(scale), zero)], key=real)
        name = self.op("DequantizeLinear", [quantised, *self.type_of(np.float32(scale), zero)], key=real)
        return _Value(name=name, shape=shape, scale=np.float32(scale), zero=zero)

    def type_of(self, scale: np.float32, zero: int) -> list[str]:
        return [self.constant(np.float32(scale)), self.constant(np.array(zero, self.dtype))]

    # ---- ONNX

    def constant(self, value: np.ndarray | np.generic) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def op(self, operator: str, inputs: list[str], key: str = "", **attributes: object) -> str:
        """Add a node; its output's name counts the real operators only, so it is the same with and without quantisers."""
        if not key:
            self.operators += 1
        name = f"{key or f't{self.operators}'}_{operator.lower()}"
        self.nodes.append(helper.make_node(operator, inputs, [name], name=f"{name}_node", **attributes))
        return name
