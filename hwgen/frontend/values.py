"""What the importer knows about an ONNX tensor while it walks the model, and how layouts are tracked.

An activation's layout is an integer array ``order`` of the ONNX tensor's shape: for each of its elements the position in the
stream (row, column, channel) of the integer tensor. Layout operators (Reshape, Transpose, ...) are then the NumPy operations
of the same names on ``order``; a dense layer's columns are permuted by it.
"""

from dataclasses import dataclass
from itertools import permutations
from typing import Any

import numpy as np
import onnx

from ..errors import HwgenError
from ..graph import Layout, QuantType

__all__ = [
    "Activation",
    "Constant",
    "HostValue",
    "Pending",
    "Unknown",
    "UnsupportedError",
    "Value",
    "Weights",
    "image_order",
    "layout",
]

Hwc = tuple[int, int, int]


class UnsupportedError(HwgenError):
    """An operator that cannot be imported: why, and what the user can do."""

    def __init__(self, reason: str, advice: str):
        super().__init__(f"{reason}; {advice}")
        self.reason, self.advice = reason, advice


@dataclass(frozen=True, kw_only=True, eq=False)
class Constant:
    """An initializer."""

    array: np.ndarray


@dataclass(frozen=True, kw_only=True, eq=False)
class Weights:
    """A dequantised initializer: ``(integers - zero_point) * scale``, both along ``axis`` (or of one element)."""

    name: str
    integers: np.ndarray
    scale: np.ndarray
    zero_point: np.ndarray
    axis: int

    @property
    def centred(self) -> np.ndarray:
        """int64, the zero point subtracted."""
        zero = self.zero_point.astype(np.int64)
        if zero.size > 1:
            zero = zero.reshape([-1 if a == self.axis else 1 for a in range(self.integers.ndim)])
        else:
            zero = zero.reshape(())
        return self.integers.astype(np.int64) - zero


@dataclass(frozen=True, kw_only=True, eq=False)
class Activation:
    """A tensor of the graph; ``real`` where it is dequantised (float32 in ONNX)."""

    tensor: str
    order: np.ndarray
    real: bool


@dataclass(frozen=True, kw_only=True, eq=False)
class HostValue:
    """The model's float input before it is quantised."""

    order: np.ndarray


@dataclass(frozen=True, kw_only=True, eq=False)
class Pending:
    """A float result that waits for its QuantizeLinear.

    Parameters
    ----------
    nodes
        The ONNX operators that make it, in order.
    inputs
        Of the first operator (``kind`` "operator"), or the one activation that ``kind`` "function" is a function of.
    bias
        Added to a MatMul's result.
    lo, hi
        Clamp in real numbers, by Relu or Clip.
    """

    kind: str
    nodes: tuple[onnx.NodeProto, ...]
    inputs: tuple[Any, ...]
    shape: tuple[int, ...]
    bias: Weights | None = None
    lo: float = -np.inf
    hi: float = np.inf


@dataclass(frozen=True)
class Unknown:
    """Made by an operator that is not supported."""


Value = Constant | Weights | Activation | HostValue | Pending | Unknown


def image_order(hwc: Hwc) -> np.ndarray:
    """``order`` of an NCHW tensor: shape (1, C, H, W)."""
    return np.arange(int(np.prod(hwc))).reshape(hwc).transpose(2, 0, 1)[None]


def layout(order: np.ndarray, hwc: Hwc) -> Layout | None:
    """``order`` as a :class:`Layout`; None where no permutation of (H, W, C) makes it."""
    stream = np.arange(order.size).reshape(hwc)
    for axes in permutations(range(3)):
        if (stream.transpose(axes).ravel() == order.ravel()).all():
            return Layout(axes=axes, shape=order.shape)  # type: ignore[arg-type]
    return None


def real_to_integer(value: float, type: QuantType) -> int:
    """QuantizeLinear of one number: float32 division, round half to even, saturate."""
    with np.errstate(over="ignore"):
        scaled = np.rint(np.float32(value) / np.float32(type.scale))
    return int(np.clip(scaled + type.zero_point, type.integer.min, type.integer.max))
