"""Operators with windows over an image: geometry, pooling, padding."""

from typing import Any

import numpy as np
import onnx

from ..graph import AveragePool, GlobalAveragePool, MaxPool, Pad, Pads, Pair, QuantType
from .builder import Builder, attributes, names
from .tables import requantise
from .values import Activation, Constant, Pending, UnsupportedError, image_order, real_to_integer

__all__ = ["average", "image", "maxpool", "pad", "padding", "pair"]

AVERAGED = 1 << 14  #: pixels of an average's window whose rounding is worked out for every possible sum


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


def pair(node: onnx.NodeProto, name: str, default: Pair, rank: int) -> Pair:
    """An attribute along (rows, columns); with ``rank`` 1 the rows are 1."""
    values = [int(v) for v in attributes(node).get(name, default[2 - rank :])]
    if len(values) != rank or min(values) < 1:
        raise UnsupportedError(f"{name} must be {rank} positive numbers, not {values}", "export the model again")
    return (1, values[0]) if rank == 1 else (values[0], values[1])


def padding(node: onnx.NodeProto, size: Pair, kernel: Pair, strides: Pair, dilations: Pair, rank: int) -> Pads:
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


def average(b: Builder, p: Pending, out: QuantType) -> Activation:
    node, x = p.nodes[0], p.inputs[0]
    h, w, _ = image(b, x)
    rank = x.order.ndim - 2
    if node.op_type == "GlobalAveragePool":
        kernel, strides, pads = (h, w), (1, 1), (0, 0, 0, 0)
    else:
        kernel, strides = pair(node, "kernel_shape", (1, 1), rank), pair(node, "strides", (1, 1), rank)
        if pair(node, "dilations", (1, 1), rank) != (1, 1):
            raise UnsupportedError("dilations of an average must be 1", "use a depthwise convolution")
        pads = padding(node, (h, w), kernel, strides, (1, 1), rank)
        if attributes(node).get("ceil_mode", 0) and any(_ceil_extra((h, w), kernel, strides, (1, 1), pads)):
            raise UnsupportedError("ceil_mode adds windows that stick out", "pad explicitly, or crop the image")
        _check_pool_pads(pads, kernel)
    if kernel == (h, w) and not any(pads):
        scale = np.float32(b.type(x).scale) / (np.float32(out.scale) * np.float32(h * w))
        if not (np.isfinite(scale) and scale > 0):
            raise UnsupportedError("input scale / output scale must be a positive float32", "quantise the model again")
        name = b.add(GlobalAveragePool, "pool", (x.tensor,), out, names(p), scale=scale)
    elif kernel[0] * kernel[1] > AVERAGED:
        raise UnsupportedError(
            f"its window {kernel} has more than {AVERAGED} pixels", "average in two steps, or the whole image"
        )
    else:
        include = bool(attributes(node).get("count_include_pad", 0))
        name = b.add(
            AveragePool,
            "pool",
            (x.tensor,),
            out,
            names(p),
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
    kernel, strides = pair(node, "kernel_shape", (1, 1), rank), pair(node, "strides", (1, 1), rank)
    dilations = pair(node, "dilations", (1, 1), rank)
    if len([o for o in node.output if o]) > 1:
        raise UnsupportedError("the indices of its maxima are not computed", "remove MaxUnpool and the second output")
    pads = padding(node, (h, w), kernel, strides, dilations, rank)
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
