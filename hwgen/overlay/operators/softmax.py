"""Softmax over the channels of each pixel, in float32 as ONNX Runtime computes it."""

import numpy as np

from ...errors import HwgenError
from ...graph import Softmax as SoftmaxNode
from ...templates.softmax import softmax_params, unpack
from ..exact import lacking, stored
from ..isa import Softmax
from ..writer import Writer
from .combine import load_tables

__all__ = ["shares", "shares_tables"]


def shares_tables(w: Writer, node: SoftmaxNode) -> None:
    """Bring its tables; ``HwgenError`` where the engine has no use for them."""
    if not w.engine.softmax:
        raise HwgenError(lacking(node))
    source, output = w.graph.tensors[node.inputs[0]], w.graph.tensors[node.output]
    _, contents = softmax_params(source.type, output.type, source.shape[2])
    floats = unpack(np.concatenate([contents.exponentials, contents.scaled]))
    load_tables(w, np.array([f["mantissa"] | f["exponent"] << 24 for f in floats]))


def shares(w: Writer, node: SoftmaxNode, start: int, stop: int) -> None:
    """Rows from ``start`` until before ``stop``."""
    here, there = w.here[node.inputs[0]], w.here[node.output]
    _, width, channels = here.shape
    w.program.append(
        Softmax(
            source=here.at(start, 0),
            target=there.at(start, 0),
            channels=channels,
            x_count=width,
            x_step=channels,
            y_count=stop - start,
            y_step=here.row,
            target_x_step=channels,
            target_y_step=there.row,
            zero=w.graph.tensors[node.output].type.zero_point - stored(w.graph, node.output),
        )
    )
