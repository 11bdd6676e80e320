"""One small function per kind of operator: from ONNX attributes and constants to graph nodes."""

from typing import Any, TypeVar

import numpy as np
import onnx
from onnx import TensorProto, helper

from ..arith import IntType
from ..graph import (
    Add,
    ArgMax,
    AveragePool,
    Concat,
    Conv,
    Dense,
    GlobalAveragePool,
    MaxPool,
    Node,
    Pad,
    Pads,
    Pair,
    QuantType,
    Softmax,
    Table,
    Tensor,
    output_shape,
)
from ..oracle import Oracle, run_unary
from .values import Activation, Constant, Pending, UnsupportedError, Weights, image_order, real_to_integer

__all__ = ["Builder", "argmax", "attributes", "finish", "maxpool", "pad", "reinterpret", "requantise"]

N = TypeVar("N", bound=Node)
RESCALE = "quantise it as ONNX Runtime's quantize_static or TFLite do"


def attributes(node: onnx.NodeProto) -> dict[str, Any]:
    return {a.name: helper.get_attribute_value(a) for a in node.attribute}


class Builder:
    """The graph under construction: nodes named by kind and order, tensors after their producers."""

    def __init__(self, opsets: list[onnx.OperatorSetIdProto], constants: dict[str, TensorProto]):
        self.opsets, self.constants = opsets, constants
        self.nodes: list[Node] = []
        self.tensors: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}

    def add(self, cls: type[N], kind: str, inputs: tuple[str, ...], type: QuantType, onnx_names: Any, **fields: Any) -> str:
        """Append a node; returns its output tensor's name."""
        count = self._counts.get(kind, 0)
        self._counts[kind] = count + 1
        name = f"{kind}{count}"
        node = cls(name=name, inputs=inputs, output=f"{name}_out", onnx_names=tuple(onnx_names), **fields)
        shape = output_shape(node, [self.tensors[i] for i in inputs])
        if min(shape) < 1:
            raise UnsupportedError(
                f"its output would have the shape {shape} (rows, columns, channels)", "check kernel and padding"
            )
        self.nodes.append(node)
        self.tensors[node.output] = Tensor(name=node.output, shape=shape, type=type)
        return node.output

    def shape(self, a: Activation) -> tuple[int, int, int]:
        return self.tensors[a.tensor].shape

    def type(self, a: Activation) -> QuantType:
        return self.tensors[a.tensor].type


def finish(b: Builder, p: Pending, out: QuantType) -> Activation:
    """Make the graph node of ``p``, whose result is quantised as ``out``."""
    node = p.nodes[0]
    if p.kind == "function":
        return _function(b, p, out)
    match node.op_type:
        case "Conv":
            return _conv(b, p, out)
        case "Gemm" | "MatMul":
            return _dense(b, p, out)
        case "Add":
            x, y = p.inputs
            lo, hi = _bounds(p, out)
            name = b.add(Add, "add", (x.tensor, y.tensor), out, _names(p), lo=lo, hi=hi)
            return Activation(tensor=name, order=x.order, real=False)
        case "AveragePool" | "GlobalAveragePool":
            return _average(b, p, out)
        case "Concat":
            return concat(b, p.nodes[0], p.inputs, out)
        case "Pad":
            return pad(b, node, p.inputs, out)
        case "Softmax":
            (x,) = p.inputs
            _vector(b, x, attributes(node).get("axis", -1), "Softmax")
            name = b.add(Softmax, "softmax", (x.tensor,), out, _names(p))
            return Activation(tensor=name, order=x.order, real=False)
        case _:
            raise UnsupportedError(f"{node.op_type} is not known", "replace it by supported operators")


def _names(p: Pending) -> tuple[str, ...]:
    return tuple(n.name for n in p.nodes)


def _bounds(p: Pending, out: QuantType) -> tuple[int, int]:
    lo = real_to_integer(p.lo, out) if np.isfinite(p.lo) else out.integer.min
    hi = real_to_integer(p.hi, out) if np.isfinite(p.hi) else out.integer.max
    return min(lo, hi), hi


def image(b: Builder, x: Activation) -> tuple[int, int, int]:
    """Check that ``x`` is its tensor as NCHW (or NCW: one row); returns (H, W, C)."""
    hwc = b.shape(x)
    wanted = image_order(hwc)
    order = x.order[:, :, None] if x.order.ndim == 3 else x.order
    if order.shape != wanted.shape or not (order == wanted).all():
        raise UnsupportedError(
            f"its input of shape {x.order.shape} is a (rows, columns, channels) tensor {hwc} in another order",
            "avoid Reshape and Transpose between image layers",
        )
    return hwc


def _pair(node: onnx.NodeProto, name: str, default: Pair, rank: int) -> Pair:
    """An attribute along (rows, columns); with ``rank`` 1 the rows are 1."""
    values = [int(v) for v in attributes(node).get(name, default[2 - rank :])]
    if len(values) != rank or min(values) < 1:
        raise UnsupportedError(f"{name} must be {rank} positive numbers, not {values}", "export the model again")
    return (1, values[0]) if rank == 1 else (values[0], values[1])


def _padding(node: onnx.NodeProto, size: Pair, kernel: Pair, strides: Pair, dilations: Pair, rank: int) -> Pads:
    """(top, left, bottom, right) of ``pads`` or ``auto_pad``."""
    a = attributes(node)
    auto = a.get("auto_pad", b"NOTSET").decode(errors="replace")
    if auto in ("SAME_UPPER", "SAME_LOWER"):
        before, after = [], []
        for n, k, s, d in zip(size, kernel, strides, dilations, strict=True):
            total = max((-(-n // s) - 1) * s + d * (k - 1) + 1 - n, 0)
            half = total // 2
            before.append(half if auto == "SAME_UPPER" else total - half)
            after.append(total - before[-1])
        return before[0], before[1], after[0], after[1]
    if auto == "VALID":
        return 0, 0, 0, 0
    if auto != "NOTSET":
        raise UnsupportedError(
            f"auto_pad must be SAME_UPPER, SAME_LOWER, VALID or NOTSET, not {auto}", "export the model again"
        )
    pads = [int(v) for v in a.get("pads", [0] * 2 * rank)]
    if len(pads) != 2 * rank or min(pads) < 0:
        raise UnsupportedError(f"pads must be {2 * rank} numbers that are not negative, not {pads}", "export the model again")
    return (0, pads[0], 0, pads[1]) if rank == 1 else (pads[0], pads[1], pads[2], pads[3])


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
    if p.inputs[1].zero_point.size > 1 and (p.inputs[1].zero_point != p.inputs[1].zero_point[0]).any():
        raise UnsupportedError(
            "its weights' zero points must be equal (ONNX Runtime demands it)", "quantise weights symmetrically"
        )
    weights = weights[:, :, None] if rank == 1 else weights
    kernel = _pair(node, "kernel_shape", weights.shape[2:], rank)
    if kernel != weights.shape[2:]:
        raise UnsupportedError(
            f"kernel_shape {kernel} must be that of the weights {weights.shape[2:]}", "export the model again"
        )
    strides, dilations = _pair(node, "strides", (1, 1), rank), _pair(node, "dilations", (1, 1), rank)
    pads = _padding(node, (h, w), kernel, strides, dilations, rank)
    accumulator, scale = _scales(b.type(x), channel_scale, out)
    lo, hi = _bounds(p, out)
    bias = _bias(p.inputs[2] if len(p.inputs) > 2 else None, accumulator)
    name = b.add(
        Conv, "conv", (x.tensor,), out, _names(p), weights=weights, bias=bias, scale=scale, lo=lo, hi=hi, kernel=kernel,
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
    if x.order.shape[-1] != x.order.size or weights.shape[1] != x.order.size:
        raise UnsupportedError(
            f"an input of shape {x.order.shape} must be one vector of {weights.shape[1]} elements", "flatten it first"
        )
    if not len(weights):
        raise UnsupportedError("it must have outputs", "export the model again")
    accumulator, scale = _scales(b.type(x), channel_scale, out)
    lo, hi = _bounds(p, out)
    columns = np.empty_like(weights)
    columns[:, x.order.ravel()] = weights
    bias = _bias(p.bias or (p.inputs[2] if len(p.inputs) > 2 else None), accumulator)
    name = b.add(Dense, "dense", (x.tensor,), out, _names(p), weights=columns, bias=bias, scale=scale, lo=lo, hi=hi)
    return Activation(tensor=name, order=np.arange(len(weights)).reshape(*x.order.shape[:-1], -1), real=False)


def _average(b: Builder, p: Pending, out: QuantType) -> Activation:
    node, x = p.nodes[0], p.inputs[0]
    h, w, _ = image(b, x)
    rank = x.order.ndim - 2
    if node.op_type == "GlobalAveragePool":
        kernel, strides, pads = (h, w), (1, 1), (0, 0, 0, 0)
    else:
        kernel, strides = _pair(node, "kernel_shape", (1, 1), rank), _pair(node, "strides", (1, 1), rank)
        if _pair(node, "dilations", (1, 1), rank) != (1, 1):
            raise UnsupportedError("dilations of an average must be 1", "use a depthwise convolution")
        pads = _padding(node, (h, w), kernel, strides, (1, 1), rank)
        if attributes(node).get("ceil_mode", 0) and any(_ceil_extra((h, w), kernel, strides, (1, 1), pads)):
            raise UnsupportedError("ceil_mode adds windows that stick out", "pad explicitly, or crop the image")
        _check_pool_pads(pads, kernel)
    if kernel == (h, w) and not any(pads):
        scale = np.float32(b.type(x).scale) / (np.float32(out.scale) * np.float32(h * w))
        if not (np.isfinite(scale) and scale > 0):
            raise UnsupportedError("input scale / output scale must be a positive float32", "quantise the model again")
        name = b.add(GlobalAveragePool, "pool", (x.tensor,), out, _names(p), scale=scale)
    else:
        include = bool(attributes(node).get("count_include_pad", 0))
        name = b.add(
            AveragePool,
            "pool",
            (x.tensor,),
            out,
            _names(p),
            kernel=kernel,
            strides=strides,
            pads=pads,
            count_include_pad=include,
        )
    order = image_order(b.tensors[name].shape)
    return Activation(tensor=name, order=order[:, :, 0] if rank == 1 else order, real=False)


def _check_pool_pads(pads: Pads, kernel: Pair) -> None:
    if any(p >= k for p, k in zip(pads, kernel * 2, strict=True)):
        raise UnsupportedError(f"pads {pads} must be smaller than the kernel {kernel}", "pad explicitly")


def _ceil_extra(size: Pair, kernel: Pair, strides: Pair, dilations: Pair, pads: Pads) -> list[int]:
    """Rows and columns that ``ceil_mode`` adds behind the image."""
    extra = []
    for k in range(2):
        span = dilations[k] * (kernel[k] - 1) + 1
        padded = size[k] + pads[k] + pads[k + 2]
        windows = -(-(padded - span) // strides[k]) + 1
        if (windows - 1) * strides[k] >= size[k] + pads[k]:
            windows -= 1  # it would begin in the padding
        extra.append(max((windows - 1) * strides[k] + span - padded, 0))
    return extra


def maxpool(b: Builder, node: onnx.NodeProto, x: Activation) -> Activation:
    h, w, _ = image(b, x)
    rank = x.order.ndim - 2
    kernel, strides = _pair(node, "kernel_shape", (1, 1), rank), _pair(node, "strides", (1, 1), rank)
    dilations = _pair(node, "dilations", (1, 1), rank)
    if len([o for o in node.output if o]) > 1:
        raise UnsupportedError("the indices of its maxima are not computed", "remove MaxUnpool and the second output")
    pads = _padding(node, (h, w), kernel, strides, dilations, rank)
    _check_pool_pads(pads, kernel)
    if attributes(node).get("ceil_mode", 0):
        rows, columns = _ceil_extra((h, w), kernel, strides, dilations, pads)
        pads = pads[0], pads[1], pads[2] + rows, pads[3] + columns  # padding never wins, so more of it changes nothing
    name = b.add(
        MaxPool, "maxpool", (x.tensor,), b.type(x), [node.name], kernel=kernel, strides=strides, dilations=dilations, pads=pads
    )
    order = image_order(b.tensors[name].shape)
    return Activation(tensor=name, order=order[:, :, 0] if rank == 1 else order, real=x.real)


def pad(b: Builder, node: onnx.NodeProto, inputs: tuple[Any, ...], out: QuantType) -> Activation:
    """Pad with a constant; a padding of 0 is the zero point."""
    x, a = inputs[0], attributes(node)
    image(b, x)
    rank = x.order.ndim - 2
    if a.get("mode", b"constant") != b"constant":
        raise UnsupportedError(f"mode {a['mode'].decode(errors='replace')} is not supported", "pad with a constant")
    given = inputs[1].array if len(inputs) > 1 and isinstance(inputs[1], Constant) else np.array(a.get("pads", ()))
    if len(inputs) > 3 and inputs[3] is not None:
        raise UnsupportedError("axes are not supported", "give pads for all dimensions")
    pads = [int(v) for v in given.ravel()]
    ends = [*pads[:2], *pads[rank + 2 : rank + 4]]
    if len(pads) != 2 * (rank + 2) or any(ends) or min(pads) < 0 or max(pads) > 1 << 16:
        raise UnsupportedError(f"pads must be constant and of rows and columns only, not {pads}", "pad height and width only")
    value = inputs[2].array if len(inputs) > 2 and isinstance(inputs[2], Constant) else np.array(a.get("value", 0.0))
    if value.size != 1:
        raise UnsupportedError("its value must be one constant", "pad with a constant")
    before, after = pads[2 : 2 + rank], pads[4 + rank :]
    edges: Pads = (0, before[0], 0, after[0]) if rank == 1 else (before[0], before[1], after[0], after[1])
    if b.type(x) != out:
        x = requantise(b, x, out, [node.name])
    number = real_to_integer(float(value.ravel()[0]), out)
    name = b.add(Pad, "pad", (x.tensor,), out, [node.name], pads=edges, value=number)
    order = image_order(b.tensors[name].shape)
    return Activation(tensor=name, order=order[:, :, 0] if rank == 1 else order, real=False)


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


def requantise(b: Builder, x: Activation, out: QuantType, onnx_names: Any) -> Activation:
    """``x`` with the type ``out``: itself, or through a table."""
    if b.type(x) == out:
        return Activation(tensor=x.tensor, order=x.order, real=False)
    table = run_unary([], b.type(x), out)
    name = b.add(Table, "requant", (x.tensor,), out, onnx_names, table=table, function="Requantise")
    return Activation(tensor=name, order=x.order, real=False)


def reinterpret(b: Builder, x: Activation, type: QuantType, onnx_names: Any) -> Activation:
    """The same integers with another scale or zero point."""
    table = np.arange(type.integer.min, type.integer.max + 1)
    name = b.add(Table, "reinterpret", (x.tensor,), type, onnx_names, table=table, function="Identity")
    return Activation(tensor=name, order=x.order, real=True)


def _function(b: Builder, p: Pending, out: QuantType) -> Activation:
    """A table of what ONNX Runtime computes for each of the 256 inputs."""
    (x, source) = p.inputs
    entry = helper.make_node("Identity", [source], [f"{source}_hwgen_entry"])
    nodes = []
    for node in p.nodes:
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        for k, i in enumerate(copy.input):
            if i == source:
                copy.input[k] = entry.output[0]
        nodes.append(copy)
    used = {i for n in nodes for i in n.input}
    chain = nodes if len(nodes) == 1 and nodes[0].input[0] == entry.output[0] else [entry, *nodes]
    initializers = [t for name, t in b.constants.items() if name in used]
    table = run_unary(chain, b.type(x), out, initializers=initializers, opsets=b.opsets)
    compute = [n for n in p.nodes if n.op_type != "DequantizeLinear"]
    if any(n.op_type in ("Div", "Log", "Pow", "Reciprocal", "Sqrt") for n in compute):
        _check_finite(b, chain, initializers, b.type(x))
    function = " ".join(n.op_type for n in compute)
    name = b.add(Table, "table", (x.tensor,), out, [n.name for n in compute], table=table, function=function)
    return Activation(tensor=name, order=x.order, real=False)


def _check_finite(b: Builder, chain: Any, initializers: Any, x: QuantType) -> None:
    """The chain's float results must be numbers: what QuantizeLinear makes of NaN is undefined."""
    values = np.arange(x.integer.min, x.integer.max + 1) - x.zero_point
    graph = helper.make_graph(
        chain,
        "function",
        [helper.make_tensor_value_info(chain[0].input[0], TensorProto.FLOAT, [1, 256])],
        [onnx.ValueInfoProto(name=chain[-1].output[0])],
        initializers,
    )
    real = (values.astype(np.float32) * np.float32(x.scale))[None]
    (result,) = Oracle(helper.make_model(graph, opset_imports=b.opsets)).run(real).values()
    if np.isnan(result).any():
        raise UnsupportedError("it is undefined for some of its inputs", "clip its input to where it is defined")


def _vector(b: Builder, x: Activation, axis: int, what: str) -> int:
    """Check that ``axis`` of ``x`` holds all its elements in stream order; returns it from the front."""
    if not -x.order.ndim <= axis < x.order.ndim:
        raise UnsupportedError(f"its axis {axis} must be one of the input's {x.order.ndim}", "export the model again")
    axis %= x.order.ndim
    h, w, _ = b.shape(x)
    if x.order.shape[axis] != x.order.size or h * w != 1:
        raise UnsupportedError(f"{what} over an axis of {x.order.shape} is not supported", "use it on a vector at the output")
    return axis


def argmax(b: Builder, node: onnx.NodeProto, x: Activation) -> Activation:
    a = attributes(node)
    axis = _vector(b, x, a.get("axis", 0), "ArgMax")
    channels = b.shape(x)[2]
    type = QuantType(integer=IntType.holding(0, channels - 1), scale=1.0, zero_point=0)
    name = b.add(ArgMax, "argmax", (x.tensor,), type, [node.name], last=bool(a.get("select_last_index", 0)))
    shape = [d for k, d in enumerate(x.order.shape) if k != axis] if not a.get("keepdims", 1) else [1] * x.order.ndim
    return Activation(tensor=name, order=np.zeros(shape, np.int64), real=False)
