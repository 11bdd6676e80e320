"""QuantizeLinear and DequantizeLinear: what their constants mean."""

from collections.abc import Sequence

import numpy as np
import onnx

from ..arith import IntType
from ..graph import QuantType
from .builder import attributes
from .values import Constant, UnsupportedError, Value, Weights

__all__ = ["activation_type", "dequantised_constant"]


def activation_type(node: onnx.NodeProto, given: Sequence[Value | None], integer: IntType | None) -> QuantType:
    """Type of a QuantizeLinear or DequantizeLinear with the scale and zero point ``given``, per tensor."""
    scale, zero = (*given, None, None)[:2]
    if attributes(node).get("block_size", 0):
        raise UnsupportedError("quantisation in blocks is not supported", "quantise activations per tensor")
    if not isinstance(scale, Constant) or scale.array.dtype != np.float32 or not isinstance(zero, Constant | None):
        raise UnsupportedError("its scale and zero point must be float32 and integer constants", "quantise statically")
    if scale.array.size != 1 or (zero is not None and zero.array.size != 1):
        raise UnsupportedError("activations must have one scale and zero point", "quantise activations per tensor")
    dtype = zero.array.dtype if zero is not None else np.dtype(np.uint8)
    if zero is None and integer is not None:
        dtype = np.dtype(np.int8 if integer.signed else np.uint8)
    if dtype not in (np.int8, np.uint8):
        raise UnsupportedError(f"its type must be int8 or uint8, not {dtype}", "quantise to 8 bits")
    number = float(scale.array.ravel()[0])
    if not number > 0:
        raise UnsupportedError(f"its scale must be positive, not {number}", "quantise the model again")
    zero_point = int(zero.array.ravel()[0]) if zero is not None else 0
    return QuantType(integer=IntType(8, dtype == np.int8), scale=number, zero_point=zero_point)


def dequantised_constant(node: onnx.NodeProto, x: Constant, given: Sequence[Value | None]) -> Weights:
    """DequantizeLinear of an initializer; ``given``: its scale and zero point."""
    scale, zero = (*given, None, None)[:2]
    if attributes(node).get("block_size", 0):
        raise UnsupportedError("quantisation in blocks is not supported", "quantise weights per channel")
    if x.array.dtype not in (np.int8, np.uint8, np.int32):
        raise UnsupportedError(f"its input must be int8, uint8 or int32, not {x.array.dtype}", "quantise to 8 bits")
    if not isinstance(scale, Constant) or scale.array.dtype != np.float32 or not isinstance(zero, Constant | None):
        raise UnsupportedError("its scale and zero point must be float32 and integer constants", "quantise statically")
    zero_point = zero.array if zero is not None else np.zeros((), x.array.dtype)
    if zero_point.dtype != x.array.dtype:
        raise UnsupportedError(
            f"its zero point must be {x.array.dtype} as its input, not {zero_point.dtype}", "export it again"
        )
    axis = int(attributes(node).get("axis", 1))
    sizes = {scale.array.size, zero_point.size} - {1}
    if sizes:
        if not -x.array.ndim <= axis < x.array.ndim:
            raise UnsupportedError(f"its axis {axis} must be one of the input's {x.array.ndim}", "export the model again")
        axis %= x.array.ndim
        if sizes != {x.array.shape[axis]} or scale.array.ndim > 1 or zero_point.ndim > 1:
            raise UnsupportedError(f"its scale and zero point must have 1 or {x.array.shape[axis]} elements", "export it again")
    if not (scale.array > 0).all():
        raise UnsupportedError("its scale must be positive", "quantise the model again")
    return Weights(name=node.output[0], integers=x.array, scale=scale.array, zero_point=zero_point, axis=axis)
