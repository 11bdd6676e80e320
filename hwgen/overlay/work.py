"""How long each unit of an engine has to do with a network's operators, for many arrays at once."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from ..errors import HwgenError
from ..graph import (
    Add,
    AveragePool,
    Concat,
    Conv,
    Dense,
    GlobalAveragePool,
    Graph,
    Linear,
    MatMul,
    MaxPool,
    Node,
    Pad,
    Softmax,
    Table,
)
from .exact import lacking
from .isa import WORD
from .schedule import groups
from .staging import multiplications
from .timing import GAP
from .transpose import transposable, transposed
from .units.softmax import cycles as softmax_cycles

__all__ = ["LANES", "TAPS", "Work", "work_of"]

LANES = (1, 2, 4, 8, 16)  #: that an engine may have
TAPS = 3  #: rows that work in depthwise mode, at most
STEPS = 2  #: cycles of a word of a Drain: scales of up to 44 bits, 16 at a time; most take two
TABLES = 512  #: entries of an addition or a function
COPY = 2  #: cycles of a copied word
SCALE, TABLE = 16, 4  #: bytes of an entry in external memory
BAND, EDGES = 2, 4  #: rows of the array for which positions are made at once, at least; instructions for a tensor's border


@dataclass(frozen=True, kw_only=True, eq=False)
class Work:
    """Of operators that are carried out in step, on each of A arrays.

    Parameters
    ----------
    array
        (A,) cycles in which it is at work.
    vector
        (lanes, A) cycles of the vector unit, for each of ``LANES``.
    entries, part
        (A,) entries of the memory of weights that come, and those of a part: output channels that the array makes at once.
    scales, tables
        (A,) entries that come.
    instructions
        (A,) roughly.
    after
        (lanes, A) cycles of the vector unit that come on top where the operators are carried out one after the other.
    """

    array: np.ndarray
    vector: np.ndarray
    entries: np.ndarray
    part: np.ndarray
    scales: np.ndarray
    tables: np.ndarray
    instructions: np.ndarray
    after: np.ndarray

    def beats(self, columns: np.ndarray, bus: int) -> np.ndarray:
        """(A,) of a bus of so many bytes, for the constants; an entry takes a cycle at least."""
        return self.entries * -(-columns // bus) + self.scales * -(-SCALE // bus) + self.tables

    def image(self, columns: np.ndarray, bus: int) -> np.ndarray:
        """(A,) beats of external memory that constants and instructions take: small entries share one."""
        memories = ((self.entries, columns), (self.scales, SCALE), (self.tables, TABLE), (self.instructions, WORD))
        return np.stack([-(-count // np.maximum(1, bus // size)) * -(-size // bus) for count, size in memories]).sum(0)

    def at(self, kept: np.ndarray) -> "Work":
        """Of some of the arrays."""
        return Work(**{f.name: getattr(self, f.name)[..., kept] for f in fields(self)})


def work_of(graph: Graph, rows: np.ndarray, columns: np.ndarray) -> list[Work]:
    """Group by group, with height and width exchanged for arrays that are less at work then; borders are left out."""
    given = _in_order(graph, rows, columns)
    turned = _in_order(transposed(graph), rows, columns) if transposable(graph) else given
    better = sum(w.array for w in turned) < sum(w.array for w in given)
    return [
        Work(**{f.name: np.where(better, getattr(b, f.name), getattr(a, f.name)) for f in fields(Work)})
        for a, b in zip(given, turned, strict=True)
    ]


def _in_order(graph: Graph, rows: np.ndarray, columns: np.ndarray) -> list[Work]:
    return [_together([_one(node, graph, rows, columns) for node in nodes]) for nodes in groups(graph)]


def _together(works: Sequence[Work]) -> Work:
    whole = {f.name: sum(getattr(w, f.name) for w in works) for f in fields(Work)}
    return Work(**whole | {"after": whole["vector"] - works[0].vector})


def _one(node: Node, graph: Graph, rows: np.ndarray, columns: np.ndarray) -> Work:
    height, width, channels = graph.tensors[node.output].shape
    if isinstance(node, Linear | GlobalAveragePool | AveragePool):
        return _sums(node, graph, rows, columns)
    if isinstance(node, MatMul):
        return _products(node, graph, rows, columns)
    if not isinstance(node, Add | Table | MaxPool | Concat | Pad | Softmax):
        raise HwgenError(lacking(node))
    none = np.zeros_like(rows)
    reads = {Add: 2, Table: 1, Concat: 1}.get(type(node), 1)
    if isinstance(node, MaxPool):
        reads = node.kernel[0] * node.kernel[1]
    runs, length = (height, width * channels) if isinstance(node, Add | Table) else (height * width, channels)
    vector = np.stack([none + runs * -(-length // lanes) * (reads + 1) for lanes in LANES])
    if isinstance(node, Softmax):
        vector = np.stack([none + height * -(-width // lanes) * softmax_cycles(channels, lanes) for lanes in LANES])
    tables = none + (TABLES if isinstance(node, Add | Table | Softmax) else 0)
    return Work(
        array=none,
        vector=vector,
        entries=none,
        part=none,
        scales=none,
        tables=tables,
        instructions=none + height,
        after=0 * vector,
    )


def _sums(node: Linear | GlobalAveragePool | AveragePool, graph: Graph, rows: np.ndarray, columns: np.ndarray) -> Work:
    """Of a weighted sum: as ``tiles.py`` cuts it up, each part in one band."""
    height, width, channels = graph.tensors[node.output].shape
    positions, taps, made, several = height * width, np.minimum(TAPS, rows), channels, 1
    match node:
        case Conv() if node.depthwise and len(node.weights) == node.groups and node.dilations == (1, 1):
            tiles, words = node.kernel[0] * -(-node.kernel[1] // taps), taps
            tile = np.maximum(np.maximum(height * ((width - 1) * node.strides[1] + taps), taps), GAP)
        case AveragePool():
            tiles, words = node.kernel[0] * -(-node.kernel[1] // taps), taps
            tile = np.maximum(np.maximum(height * ((width - 1) * node.strides[1] + taps), taps), GAP)
        case GlobalAveragePool():
            above, across, _ = graph.tensors[node.inputs[0]].shape
            tiles, words, tile = above * -(-across // taps), taps, np.maximum(taps, GAP)
        case Conv():
            several, made, inputs = node.groups, len(node.weights) // node.groups, node.weights.shape[1]
            down, along = node.kernel
            whole = node.groups == 1 and node.dilations[1] == 1
            tiles = down * (-(-along * inputs // rows) if whole else along * -(-inputs // rows))
            words, tile = rows, np.maximum(np.maximum(positions, rows), GAP)
        case Dense():
            tiles, words, tile = -(-node.weights.shape[1] // rows), rows, np.maximum(rows, GAP)
    parts = -(-made // columns)
    full, rest = made // columns, made % columns
    words_of = [several * positions * (full * -(-columns // lanes) + -(-rest // lanes)) for lanes in LANES]
    part = tiles * words
    vector = STEPS * np.stack(words_of)
    return Work(
        array=several * parts * tiles * tile,
        vector=vector,
        after=0 * vector,
        entries=part * (several * parts if isinstance(node, Linear) else 1),
        part=part,
        scales=np.zeros_like(rows) + channels,
        tables=np.zeros_like(rows),
        instructions=several * parts * (2 + 2 * -(-height // np.maximum(1, BAND * rows // width))) + EDGES,
    )


def _products(node: MatMul, graph: Graph, rows: np.ndarray, columns: np.ndarray) -> Work:
    """Of a product of two activations, with the copies of the second one."""
    positions, groups, made = graph.tensors[node.output].shape
    tiles, full, rest = -(-node.depth // rows), made // columns, made % columns
    parts, again = groups * -(-made // columns), multiplications(node, graph)
    tile = np.maximum(np.maximum(positions, rows), GAP)
    drained = [groups * positions * (full * -(-columns // lanes) + -(-rest // lanes)) for lanes in LANES]
    copied = [groups * node.depth * (made + 0 * full if node.transposed else n // (groups * positions)) for n in drained]
    vector = STEPS * np.stack(drained) + COPY * np.stack(copied)
    entries = tiles * rows * parts
    return Work(
        array=parts * tiles * tile * again,
        vector=vector,
        after=0 * vector,
        entries=entries * (2 if again > 1 else 1),
        part=tiles * rows,
        scales=np.minimum(columns, made),
        tables=np.zeros_like(rows),
        instructions=parts * (4 + (1 + again) * -(-positions // (BAND * rows))),
    )
