"""The engine for a network: the shape of the array with the fewest cycles, memories that hold what is needed."""

from dataclasses import dataclass, replace

from ..errors import HwgenError
from ..graph import Conv, Dense, GlobalAveragePool, Graph, Linear
from .engine import Engine
from .places import unplaced
from .schedule import schedule
from .timing import GAP
from .transpose import transposed

__all__ = ["Wish", "engine_for"]

LANES = 16  #: at most
TAPS = 3
LEAST, LARGEST = 1 << 12, 1 << 24  #: bytes of a scratchpad


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What is given of an engine; None: to be chosen.

    Parameters
    ----------
    array
        (rows, columns).
    multipliers
        At most so many.
    scratchpad
        Bytes.
    bus
        Bytes of the data bus.
    on_chip
        Weights, program and all else that external memory holds in block RAM.
    """

    array: tuple[int, int] | None = None
    multipliers: int | None = None
    scratchpad: int | None = None
    bus: int | None = None
    on_chip: bool = False


def engine_for(graph: Graph, wish: Wish, multipliers: int, dsp: int) -> Engine:
    """An engine for a network.

    Of all shapes with at most ``multipliers`` multipliers (``wish`` may say fewer or more) the one whose array is at work for
    the fewest cycles, then the one with the fewest multipliers; the smallest scratchpad, a power of two, in which nothing has
    to be written to external memory meanwhile.

    Parameters
    ----------
    dsp
        Multipliers beyond these are made of LUTs.
    """
    most = wish.multipliers or multipliers
    if wish.array:
        rows, columns = wish.array
    else:
        shapes = [(r, c) for r in range(1, min(most, 255) + 1) for c in range(1, min(most // r, 255) + 1)]
        graphs = [graph, transposed(graph)]
        rows, columns = min(shapes, key=lambda s: (min(_cycles(g, *s) for g in graphs), s[0] * s[1], s))
    engine = Engine(
        rows=rows, columns=columns, taps=min(TAPS, rows), lanes=min(LANES, 1 << (columns - 1).bit_length()), digit=16,
        soft=max(0, rows * columns - dsp), bus=wish.bus or 8, scratchpad=LARGEST, weights=1 << 16, sums=1 << 14, scales=1 << 12,
    )  # fmt: skip
    return _memories(graph, engine, wish)


def _cycles(graph: Graph, rows: int, columns: int) -> int:
    """In which the array is at work; borders between rows of dense layers left out."""
    total = 0
    for node in graph.nodes:
        height, width, channels = graph.tensors[node.output].shape
        taps = min(TAPS, rows)
        match node:
            case Conv() if node.depthwise and len(node.weights) == node.groups and node.dilations == (1, 1):
                reads = height * ((width - 1) * node.strides[1] + taps)
                tiles = node.kernel[0] * -(-node.kernel[1] // taps)
                total += -(-channels // columns) * tiles * max(reads, taps, GAP)
            case GlobalAveragePool():
                above, across, _ = graph.tensors[node.inputs[0]].shape
                total += -(-channels // columns) * above * -(-across // taps) * max(taps, GAP)
            case Conv():
                outputs, inputs = len(node.weights) // node.groups, node.weights.shape[1]
                down, along = node.kernel
                whole = node.groups == 1 and node.dilations[1] == 1
                tiles = down * (-(-along * inputs // rows) if whole else along * -(-inputs // rows))
                total += node.groups * -(-outputs // columns) * tiles * max(height * width, rows, GAP)
            case Dense():
                total += -(-channels // columns) * -(-node.weights.shape[1] // rows) * max(rows, GAP)
    return total


def _memories(graph: Graph, engine: Engine, wish: Wish) -> Engine:
    """The memories' sizes: twice the largest layer's constants, so that the next ones come meanwhile."""
    entries, scales, positions = 1, 1, 1
    for node in graph.nodes:
        if isinstance(node, Linear | GlobalAveragePool):
            height, width, channels = graph.tensors[node.output].shape
            positions = max(positions, height * width)
            scales = max(scales, channels)
            taken = node.weights[0].size if isinstance(node, Linear) else graph.tensors[node.inputs[0]].elements // channels
            kernel = node.kernel[0] if isinstance(node, Conv) else 1
            entries = max(entries, taken + 2 * kernel * engine.rows)
    parts = -(-scales // engine.columns)
    sized = replace(
        engine,
        weights=_power(2 * entries),
        scales=_power(2 * (scales + parts * (engine.lanes - 1)) + engine.lanes),
        sums=min(2048, _power(2 * max(positions, 4 * engine.rows))),
    )
    if wish.scratchpad:
        return replace(sized, scratchpad=wish.scratchpad)
    size = LEAST
    while size < LARGEST and not _stays(graph, replace(sized, scratchpad=size)):
        size *= 2
    return replace(sized, scratchpad=size)


def _stays(graph: Graph, engine: Engine) -> bool:
    """Whether everything stays in the scratchpad until it is not needed any more."""
    try:
        together, found = schedule(graph, engine, {name: unplaced(graph, name) for name in graph.tensors})
    except HwgenError:
        return False
    return len(together) < len(graph.nodes) + 1 and len(found.stays) == len(graph.tensors)


def _power(n: int) -> int:
    return 1 << (n - 1).bit_length()
