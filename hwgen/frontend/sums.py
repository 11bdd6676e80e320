"""Float results that wait to be quantised: their clamps and biases."""

from dataclasses import replace
from typing import Any

import numpy as np
import onnx

from .builder import attributes
from .values import Activation, Constant, HostValue, Pending, UnsupportedError, Weights

__all__ = ["biased", "clamped", "is_bias", "must_be_real"]


def must_be_real(node: onnx.NodeProto, x: Any) -> None:
    """``UnsupportedError`` unless ``x`` is a dequantised activation: why, for each other kind of value."""
    if isinstance(x, Pending):
        last = x.nodes[-1]
        raise UnsupportedError(
            f"its input is the float result of {last.op_type} {last.name}, not quantised in between",
            "put QuantizeLinear and DequantizeLinear behind each layer (ONNX Runtime's quantize_static does)",
        )
    if isinstance(x, HostValue):
        raise UnsupportedError("its input is the model's float input, not quantised yet", "put QuantizeLinear first")
    if not isinstance(x, Activation):
        raise UnsupportedError("its input is a constant", "compute it when exporting")
    if not x.real:
        raise UnsupportedError("its input is an integer tensor", "put DequantizeLinear before it")


def clamped(node: onnx.NodeProto, inputs: list[Any]) -> Pending:
    """Relu or Clip behind a sum: narrows its bounds."""
    p: Pending = inputs[0]
    lo, hi = 0.0, np.inf
    if node.op_type == "Clip":
        a = attributes(node)
        ends = [*inputs[1:], None, None][:2]
        if any(not isinstance(e, Constant | None) or (e is not None and e.array.size != 1) for e in ends):
            raise UnsupportedError("its bounds must be constants", "export with constant bounds")
        lo = float(ends[0].array.ravel()[0]) if ends[0] is not None else a.get("min", -np.inf)
        hi = float(ends[1].array.ravel()[0]) if ends[1] is not None else a.get("max", np.inf)
    if p.nodes[0].op_type not in ("Conv", "Gemm", "MatMul", "Add"):
        must_be_real(node, p)
    return replace(p, nodes=(*p.nodes, node), lo=min(max(p.lo, lo), hi), hi=min(p.hi, hi))


def is_bias(inputs: list[Any]) -> bool:
    """Whether an Add of ``inputs`` adds weights to the result of a MatMul."""
    kinds = {type(i) for i in inputs}
    products = [i for i in inputs if isinstance(i, Pending) and i.nodes[-1].op_type == "MatMul"]
    return kinds == {Pending, Weights} and len(products) == 1


def biased(node: onnx.NodeProto, inputs: list[Any]) -> Pending:
    """The MatMul among ``inputs`` with the other one as its bias."""
    p, bias = inputs if isinstance(inputs[0], Pending) else inputs[::-1]
    if p.inputs[0].order.ndim != 2:
        raise UnsupportedError("the product before it must have rank 2", "flatten the input of MatMul")
    return replace(p, nodes=(*p.nodes, node), bias=bias)
