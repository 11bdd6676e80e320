"""Maxima over windows; with windows of one element copies: channels side by side, an image in a border."""

from ...graph import Concat, MaxPool, Pad
from ..exact import stored
from ..isa import Pool
from ..places import Placed, rectangle
from ..writer import Writer

__all__ = ["concatenated", "padded", "pooled"]


def pooled(w: Writer, node: MaxPool, start: int, stop: int) -> None:
    """Rows from ``start`` until before ``stop``."""
    stored(w.graph, node.inputs[0])
    top, left, _, _ = node.pads
    here, there = w.here[node.inputs[0]], w.here[node.output]
    w.program.append(_windows(here, there, node, (start * node.strides[0] - top, -left), (start, 0, 0), stop - start))


def concatenated(w: Writer, node: Concat, start: int, stop: int) -> None:
    """Rows from ``start`` until before ``stop``."""
    channel, there = 0, w.here[node.output]
    for name in node.inputs:
        stored(w.graph, name)
        w.program.append(_windows(w.here[name], there, None, (start, 0), (start, 0, channel), stop - start))
        channel += w.graph.tensors[name].shape[2]


def padded(w: Writer, node: Pad, start: int, stop: int) -> None:
    """Rows from ``start`` until before ``stop``: the image, and as a border what is around it."""
    value = node.value - stored(w.graph, node.inputs[0])
    top, left, _, _ = node.pads
    here, there = w.here[node.inputs[0]], w.here[node.output]
    height, width, _ = here.shape
    whole = there.shape[1]
    first = min(max(start, top), stop)  # rows of the image: from here until before the last
    last = max(min(stop, top + height), first)
    around = (start, 0, first, whole), (last, 0, stop, whole), (first, 0, last, left), (first, left + width, last, whole)
    for corners in around:
        w.program += rectangle(there, value, *corners)
    if last > first:
        w.program.append(_windows(here, there, None, (first - top, 0), (first, left, 0), last - first, width))


def _windows(
    here: Placed, there: Placed, node: MaxPool | None, origin: tuple[int, int], target: tuple[int, int, int], rows: int,
    across: int | None = None,
) -> Pool:  # fmt: skip
    """Rows of windows from ``origin`` (y, x) on into ``target`` (y, x, channel) and what follows."""
    kernel, strides, dilations = (node.kernel, node.strides, node.dilations) if node else ((1, 1),) * 3
    channels = here.shape[2]
    return Pool(
        source=here.at(*origin),
        target=there.at(*target),
        channels=channels,
        x_count=across or there.shape[1],
        y_count=rows,
        x_step=strides[1] * channels,
        y_step=strides[0] * here.row,
        kernel_x=kernel[1],
        kernel_y=kernel[0],
        kernel_x_step=dilations[1] * channels,
        kernel_y_step=dilations[0] * here.row,
        target_x_step=there.shape[2],
        target_y_step=there.row,
    )
