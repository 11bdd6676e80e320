"""What ONNX Runtime computes for each tensor of a graph."""

from collections.abc import Callable

import numpy as np
import onnx

from .errors import HwgenError
from .frontend import reference_model
from .graph import Graph
from .inputs import Frames
from .oracle import Oracle

__all__ = ["expected_tensors"]


def expected_tensors(
    graph: Graph, model: onnx.ModelProto, frames: Frames, progress: Callable[[float], None] = lambda share: None
) -> tuple[dict[str, np.ndarray], int]:
    """ONNX Runtime's numbers for each tensor that has an alias, (N, H, W, C); and how many elements all aliases have.

    ``HwgenError`` where two aliases of one tensor differ: the import would be at fault.
    """
    tensors = {t.name: t for t in graph.tensors.values() if t.aliases}
    names = [alias.name for t in tensors.values() for alias in t.aliases]
    oracle = Oracle(reference_model(model))
    runs = []
    for k in range(len(frames)):
        runs.append(oracle.run(frames.model[k : k + 1], names))
        progress((k + 1) / len(frames))
    expected: dict[str, np.ndarray] = {}
    compared = 0
    for name, tensor in tensors.items():
        for alias in tensor.aliases:
            array = np.concatenate([run[alias.name] for run in runs]).astype(np.int64)
            found = alias.layout.from_onnx(array, tensor.shape)
            compared += found.size
            if not (found == expected.setdefault(name, found)).all():
                raise HwgenError(f"{alias.name} must equal {tensor.aliases[0].name} in ONNX Runtime, and does not")
    return expected, compared
