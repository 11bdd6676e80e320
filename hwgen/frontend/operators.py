"""One small function per kind of operator: from ONNX attributes and constants to graph nodes."""

from typing import Any

import numpy as np
import onnx

from ..arith import IntType
from ..graph import (
    Add,
    ArgMax,
    Concat,
    Conv,
    Dense,
    MatMul,
    QuantType,
    Softmax,
)
from .builder import Builder, attributes, bounds, names
from .tables import function, requantise
from .values import Activation, Pending, UnsupportedError, Weights, image_order
from .windows import average, image, pad, padding, pair

__all__ = ["argmax", "concat", "finish"]

RESCALE = "quantise it as ONNX Runtime's quantize_static or TFLite do"


def finish(b: Builder, p: Pending, out: QuantType) -> Activation:
    """Make the graph node of ``p``, whose result is quantised as ``out``."""
    node = p.nodes[0]
    if p.kind == "function":
        return function(b, p, out)
    match node.op_type:
        case "Conv":
            return _conv(b, p, out)
        case "MatMul" if isinstance(p.inputs[1], Activation):
            return _product(b, p, out)
        case "Gemm" | "MatMul":
            return _dense(b, p, out)
        case "Add":
            x, y = p.inputs
            lo, hi = bounds(p, out)
            name = b.add(Add, "add", (x.tensor, y.tensor), out, names(p), lo=lo, hi=hi)
            return Activation(tensor=name, order=x.order, real=False)
        case "AveragePool" | "GlobalAveragePool":
            return average(b, p, out)
        case "Concat":
            return concat(b, p.nodes[0], p.inputs, out)
        case "Pad":
            return pad(b, node, p.inputs, out)
        case "Softmax":
            (x,) = p.inputs
            _channels(b, x, attributes(node).get("axis", -1))
            if b.type(x).integer != out.integer:
                raise UnsupportedError(
                    f"its input and output must both be int8 or both be uint8, not {b.type(x).integer} and {out.integer}",
                    RESCALE,
                )
            name = b.add(Softmax, "softmax", (x.tensor,), out, names(p))
            return Activation(tensor=name, order=x.order, real=False)
        case _:
            raise UnsupportedError(f"{node.op_type} is not known", "replace it by supported operators")


def _weights(w: Any, what: str, axis: int, channels: int) -> tuple[np.ndarray, np.ndarray]:
    """Centred integers and the scale of each output channel."""
    if not isinstance(w, Weights):
        raise UnsupportedError(f"its {what} must be a constant behind DequantizeLinear", RESCALE)
    if w.integers.dtype not in (np.int8, np.uint8):
        raise UnsupportedError(f"its {what} must be int8 or uint8, not {w.integers.dtype}", RESCALE)
    if max(w.scale.size, w.zero_point.size) > 1 and (w.axis != axis or {w.scale.size, w.zero_point.size} - {1, channels}):
        raise UnsupportedError(f"its {what} must be quantised per tensor or per output channel (axis {axis})", RESCALE)
    return w.centred, np.broadcast_to(w.scale.ravel(), (channels,))


def _bias(bias: Any, accumulator_scale: np.ndarray) -> np.ndarray:
    channels = len(accumulator_scale)
    if bias is None:
        return np.zeros(channels, np.int64)
    if not isinstance(bias, Weights):
        raise UnsupportedError("its bias must be an int32 constant behind DequantizeLinear", RESCALE)
    integers = bias.centred
    if bias.integers.dtype != np.int32 or integers.size not in (1, channels) or bias.zero_point.any():
        raise UnsupportedError(f"its bias must be {channels} int32 numbers without zero point", RESCALE)
    integers = np.broadcast_to(integers.ravel(), (channels,))
    ratio = np.broadcast_to(bias.scale.ravel(), (channels,)) / accumulator_scale.astype(np.float64)
    if (np.abs(ratio - 1) > 1e-3)[integers != 0].any():
        raise UnsupportedError("the scale of its bias must be input scale · weight scale", RESCALE)
    return integers


def _scales(x: QuantType, weights: np.ndarray, out: QuantType) -> tuple[np.ndarray, np.ndarray]:
    """float32 scale of the accumulator, and of the output in terms of it, for each channel."""
    with np.errstate(over="ignore", under="ignore"):
        accumulator = np.float32(x.scale) * weights.astype(np.float32)
        scale = accumulator / np.float32(out.scale)
    if not (np.isfinite(scale).all() and (scale > 0).all()):
        raise UnsupportedError(
            "input scale · weight scale / output scale must be a positive float32", "quantise the model again"
        )
    return accumulator, scale


def _conv(b: Builder, p: Pending, out: QuantType) -> Activation:
    node, x = p.nodes[0], p.inputs[0]
    h, w, c = image(b, x)
    rank = x.order.ndim - 2
    array = p.inputs[1].integers if isinstance(p.inputs[1], Weights) else np.zeros((0,))
    weights, channel_scale = _weights(p.inputs[1], "weights", 0, len(array))
    groups = attributes(node).get("group", 1)
    if (
        weights.ndim != rank + 2
        or min(weights.shape) < 1
        or groups < 1
        or weights.shape[1] * groups != c
        or len(weights) % groups
    ):
        raise UnsupportedError(
            f"weights {weights.shape} in {groups} groups must fit {c} input channels", "export the model again"
        )
    weights = weights[:, :, None] if rank == 1 else weights
    kernel = pair(node, "kernel_shape", weights.shape[2:], rank)
    if kernel != weights.shape[2:]:
        raise UnsupportedError(
            f"kernel_shape {kernel} must be that of the weights {weights.shape[2:]}", "export the model again"
        )
    strides, dilations = pair(node, "strides", (1, 1), rank), pair(node, "dilations", (1, 1), rank)
    pads = padding(node, (h, w), kernel, strides, dilations, rank)
    accumulator, scale = _scales(b.type(x), channel_scale, out)
    lo, hi = bounds(p, out)
    bias = _bias(p.inputs[2] if len(p.inputs) > 2 else None, accumulator)
    name = b.add(
        Conv, "conv", (x.tensor,), out, names(p), weights=weights, bias=bias, scale=scale, lo=lo, hi=hi, kernel=kernel,
        strides=strides, dilations=dilations, pads=pads, groups=groups,
    )  # fmt: skip
    order = image_order(b.tensors[name].shape)
    return Activation(tensor=name, order=order[:, :, 0] if rank == 1 else order, real=False)


def _dense(b: Builder, p: Pending, out: QuantType) -> Activation:
    node, x = p.nodes[0], p.inputs[0]
    a = attributes(node)
    for name, want in (("alpha", 1), ("beta", 1), ("transA", 0)):
        if a.get(name, want) != want:
            raise UnsupportedError(f"{name} must be {want}, not {a[name]}", "fold it into the weights before quantising")
    transposed = bool(a.get("transB", 0))
    if not isinstance(p.inputs[1], Weights) or p.inputs[1].integers.ndim != 2:
        raise UnsupportedError(
            "its second input must be a constant matrix behind DequantizeLinear", "only weights can be multiplied with"
        )
    axis = 0 if transposed else 1
    weights, channel_scale = _weights(p.inputs[1], "weights", axis, p.inputs[1].integers.shape[axis])
    weights = weights if transposed else weights.T
    if weights.shape[1] != x.order.shape[-1]:
        raise UnsupportedError(
            f"an input of shape {x.order.shape} must have rows of {weights.shape[1]} elements", "export the model again"
        )
    if not len(weights):
        raise UnsupportedError("it must have outputs", "export the model again")
    accumulator, scale = _scales(b.type(x), channel_scale, out)
    lo, hi = bounds(p, out)
    bias = _bias(p.bias or (p.inputs[2] if len(p.inputs) > 2 else None), accumulator)
    fields = {"bias": bias, "scale": scale, "lo": lo, "hi": hi}
    across, order = _rows(x, b.shape(x))
    columns = np.empty_like(weights)
    columns[:, order] = weights
    if x.order.shape[-1] == x.order.size:
        name = b.add(Dense, "dense", (x.tensor,), out, names(p), weights=columns, **fields)
    else:  # each row is the window of a position
        kernel = columns.reshape(len(weights), 1, across, -1).transpose(0, 3, 1, 2)
        name = b.add(Conv, "conv", (x.tensor,), out, names(p), weights=kernel, kernel=(1, across), **fields)
    made = np.arange(b.tensors[name].elements).reshape(*x.order.shape[:-1], -1)
    return Activation(tensor=name, order=made, real=False)


def _rows(x: Activation, hwc: tuple[int, int, int]) -> tuple[int, np.ndarray]:
    """Rows of a matrix of which each is a row of the image, or a pixel: how many pixels, and the order of their elements."""
    height, width, channels = hwc
    rows = x.order.reshape(-1, x.order.shape[-1])
    order = rows[0] % rows.shape[1]
    across = {(1, x.order.size): width, (height, width * channels): width, (height * width, channels): 1}.get(rows.shape)
    if across is None or (rows != np.arange(len(rows))[:, None] * rows.shape[1] + order).any():
        raise UnsupportedError(
            f"rows of its input of shape {x.order.shape} must be pixels or rows of a (rows, columns, channels) tensor {hwc}",
            "flatten it first, or transpose it so that channels come last",
        )
    return across, order


def _product(b: Builder, p: Pending, out: QuantType) -> Activation:
    """MatMul of two activations: the axes before the last two are groups."""
    x, y = p.inputs
    first, second = b.type(x), b.type(y)
    if p.bias is not None:
        raise UnsupportedError(
            "a bias of a product of two activations is not supported", "quantise the product before it is added"
        )
    if out.integer != first.integer or (first.integer.signed and not second.integer.signed):
        kinds = f"{first.integer}, {second.integer} and {out.integer}"
        raise UnsupportedError(
            f"ONNX Runtime multiplies {kinds} (inputs and output) in floating point",
            "quantise all three to int8, or all to uint8",
        )
    ranks = [v.order.ndim for v in (x, y)]
    heads = [tuple(d for d in v.order.shape[:-2] if d > 1) for v in (x, y)]
    if min(ranks) < 2 or heads[0] != heads[1]:
        raise UnsupportedError(f"its inputs {x.order.shape} and {y.order.shape} must be as many matrices", "do not broadcast")
    left, right = (v.order.reshape(-1, *v.order.shape[-2:]) for v in (x, y))
    groups, rows, depth = left.shape
    columns = right.shape[-1]

    def cut(*axes: int, shape: tuple[int, int, int]) -> np.ndarray:
        return np.arange(np.prod(shape)).reshape(shape).transpose(axes)

    plain, transposed = cut(1, 0, 2, shape=(depth, groups, columns)), cut(1, 2, 0, shape=(columns, groups, depth))
    fits = (right == plain).all() or (right == transposed).all()
    if not fits or (left != cut(1, 0, 2, shape=(rows, groups, depth))).any():
        raise UnsupportedError(
            f"its inputs {b.shape(x)} and {b.shape(y)} (rows, columns, channels) must hold each matrix's rows, or the second "
            "one's columns, as parts of rows or pixels",
            "split heads off the channels, by Reshape and Transpose behind a layer of all heads",
        )
    _, scale = _scales(first, np.array([second.scale], np.float32), out)
    lo, hi = bounds(p, out)
    name = b.add(
        MatMul, "matmul", (x.tensor, y.tensor), out, names(p), groups=groups, depth=depth,
        transposed=bool((right != plain).any()), scale=scale[0], lo=lo, hi=hi,
    )  # fmt: skip
    made = cut(1, 0, 2, shape=(rows, groups, columns))
    return Activation(
        tensor=name, order=made.reshape(*max(x.order.shape[:-2], y.order.shape[:-2], key=len), rows, columns), real=False
    )


def concat(b: Builder, node: onnx.NodeProto, inputs: tuple[Activation, ...], out: QuantType) -> Activation:
    """Join channels; inputs of another type are requantised first."""
    shapes = [b.shape(x) for x in inputs]
    axis = attributes(node).get("axis", 1)
    if len({s[:2] for s in shapes}) > 1:
        raise UnsupportedError(
            f"its inputs {shapes} (rows, columns, channels) must have equal rows and columns", "join channels only"
        )
    channels, offset, orders = sum(s[2] for s in shapes), 0, []
    for x, (_, _, c) in zip(inputs, shapes, strict=True):
        orders.append(x.order // c * channels + offset + x.order % c)
        offset += c
    ranks = {o.ndim for o in orders}
    if len(ranks) > 1 or not -min(ranks) <= axis < min(ranks) or axis % min(ranks) == 0:
        raise UnsupportedError(f"its axis {axis} must be that of the channels", "join channels only")
    if len({o.shape[: axis % o.ndim] + o.shape[axis % o.ndim + 1 :] for o in orders}) > 1:
        raise UnsupportedError("its inputs must have equal shapes but for the axis", "export the model again")
    order = np.concatenate(orders, axis=axis)
    if len(inputs) == 1:
        return requantise(b, inputs[0], out, [node.name])
    tensors = tuple(requantise(b, x, out, [node.name]).tensor for x in inputs)
    return Activation(tensor=b.add(Concat, "concat", tensors, out, [node.name]), order=order, real=False)


def _from_front(x: Activation, axis: int) -> int:
    """An axis of ``x``, which may be counted from the end."""
    if not -x.order.ndim <= axis < x.order.ndim:
        raise UnsupportedError(f"its axis {axis} must be one of the input's {x.order.ndim}", "export the model again")
    return axis % x.order.ndim


def _channels(b: Builder, x: Activation, axis: int) -> None:
    """Check that ``axis`` of ``x`` is that of the channels."""
    front = _from_front(x, axis)
    channels = b.shape(x)[2]
    vectors = np.moveaxis(x.order, front, -1)
    if vectors.shape[-1] != channels or (vectors % channels != np.arange(channels)).any():
        raise UnsupportedError(
            f"Softmax over axis {axis} of {x.order.shape} is not supported: it is not that of the channels of a "
            f"(rows, columns, channels) tensor {b.shape(x)}",
            "use it over the channels, or over a vector at the output",
        )


def argmax(b: Builder, node: onnx.NodeProto, x: Activation) -> Activation:
    """ArgMax over a vector; the index is an integer of as many bits as it needs, which only the host reads."""
    a = attributes(node)
    axis = _from_front(x, a.get("axis", 0))
    h, w, channels = b.shape(x)
    if x.order.shape[axis] != x.order.size or h * w != 1:
        raise UnsupportedError(f"ArgMax over an axis of {x.order.shape} is not supported", "use it on a vector at the output")
    type = QuantType(integer=IntType.holding(0, channels - 1), scale=1.0, zero_point=0)
    name = b.add(ArgMax, "argmax", (x.tensor,), type, [node.name], last=bool(a.get("select_last_index", 0)))
    shape = [d for k, d in enumerate(x.order.shape) if k != axis] if not a.get("keepdims", 1) else [1] * x.order.ndim
    return Activation(tensor=name, order=np.zeros(shape, np.int64), real=False)
