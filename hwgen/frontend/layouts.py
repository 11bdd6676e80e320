"""Layout operators, as operations on arrays of positions."""

import numpy as np
import onnx

from .builder import attributes
from .values import Constant, UnsupportedError, Value, image_order

__all__ = ["geometry", "reshaped"]


def reshaped(node: onnx.NodeProto, order: np.ndarray, second: Value | None) -> np.ndarray:
    """A layout operator on an array of positions; ``second``: its shape or axes."""
    a = attributes(node)
    if not isinstance(second, Constant | None):
        raise UnsupportedError("its shape or axes must be constant", "export with static shapes")
    given = [int(v) for v in second.array.ravel()] if second is not None else None
    try:
        match node.op_type:
            case "Flatten":
                axis = a.get("axis", 1)
                axis = axis + order.ndim if axis < 0 else axis
                return order.reshape(int(np.prod(order.shape[:axis])), -1)
            case "Reshape":
                shape = given if given is not None else [int(v) for v in a.get("shape", ())]
                if not a.get("allowzero", 0):
                    shape = [order.shape[k] if d == 0 else d for k, d in enumerate(shape)]
                return order.reshape(shape)
            case "Transpose":
                return order.transpose(a.get("perm", range(order.ndim)[::-1]))
            case "Squeeze":
                axes = given if given is not None else a.get("axes")
                return order.squeeze(tuple(axes) if axes is not None else None)
            case "Unsqueeze":
                return np.expand_dims(order, tuple(given if given is not None else a.get("axes", ())))
            case _:
                if len([o for o in node.output if o]) > 1:
                    raise UnsupportedError("its second output is not supported", "export for inference")
                return order
    except (ValueError, IndexError) as error:
        raise UnsupportedError(
            f"it does not fit its input of shape {order.shape} ({error})", "export the model again"
        ) from None


def geometry(flat: np.ndarray, views: list[np.ndarray]) -> tuple[tuple[int, int, int], np.ndarray]:
    """(H, W, C) of the model's input, and its order, from how the first operators see it."""
    for rank in (4, 3):
        for view in views:
            if view.ndim == rank and view.shape[0] == 1:
                _, c, h, w = view.shape if rank == 4 else (1, view.shape[1], 1, view.shape[2])
                order = np.empty(flat.size, np.int64)
                order[view.ravel()] = image_order((h, w, c)).ravel()
                return (h, w, c), order.reshape(flat.shape)
    return (1, 1, flat.size), flat
