"""The graph under construction."""

from math import prod
from typing import Any, TypeVar

import numpy as np
import onnx
from onnx import TensorProto, helper

from ..graph import Node, QuantType, Tensor, output_shape
from .values import Activation, Pending, UnsupportedError, real_to_integer

__all__ = ["LARGEST", "Builder", "attributes", "bounds", "names"]

LARGEST = 1 << 24  #: elements of a tensor, padding included

N = TypeVar("N", bound=Node)


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
        height, width, channels = self.tensors[inputs[0]].shape
        top, left, bottom, right = getattr(node, "pads", (0, 0, 0, 0))
        for what, elements in (
            ("padded input", (height + top + bottom) * (width + left + right) * channels),
            ("output", prod(shape)),
        ):
            if elements > LARGEST:
                raise UnsupportedError(f"its {what} would have {elements} elements, more than {LARGEST}", "use smaller images")
        self.nodes.append(node)
        self.tensors[node.output] = Tensor(name=node.output, shape=shape, type=type)
        return node.output

    def shape(self, a: Activation) -> tuple[int, int, int]:
        return self.tensors[a.tensor].shape

    def type(self, a: Activation) -> QuantType:
        return self.tensors[a.tensor].type


def names(p: Pending) -> tuple[str, ...]:
    return tuple(n.name for n in p.nodes)


def bounds(p: Pending, out: QuantType) -> tuple[int, int]:
    lo = real_to_integer(p.lo, out) if np.isfinite(p.lo) else out.integer.min
    hi = real_to_integer(p.hi, out) if np.isfinite(p.hi) else out.integer.max
    return min(lo, hi), hi
