"""A quantised network: typed nodes and tensors.

A tensor of one frame is an integer array of shape (H, W, C), the order in which hardware streams it (row, column,
channel). How that array appears in the ONNX file (NCHW, flattened, ...) is a :class:`Layout` of its alias.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import ClassVar

import networkx as nx
import numpy as np

from .arith import IntType

__all__ = [
    "Add", "Alias", "ArgMax", "AveragePool", "Concat", "Conv", "Dense", "GlobalAveragePool", "Graph", "HostTensor", "Layout",
    "Linear", "MatMul", "MaxPool", "Node", "Pad", "QuantType", "Softmax", "Table", "Tensor",
]  # fmt: skip

Pair = tuple[int, int]  #: (vertical, horizontal)
Pads = tuple[int, int, int, int]  #: (top, left, bottom, right), as ONNX orders them


@dataclass(frozen=True, kw_only=True)
class QuantType:
    """An integer type that stands for real numbers: ``real = (integer - zero_point) * scale``.

    Parameters
    ----------
    scale
        Positive, exactly representable in float32.
    """

    integer: IntType
    scale: float
    zero_point: int

    def __post_init__(self) -> None:
        if not (np.isfinite(self.scale) and self.scale > 0):
            raise ValueError(f"scale must be positive and finite, not {self.scale!r}")
        if float(np.float32(self.scale)) != self.scale:
            raise ValueError(f"scale must be a float32 number, not {self.scale!r}")
        if not self.integer.min <= self.zero_point <= self.integer.max:
            raise ValueError(f"zero_point must be in {self.integer.min}..{self.integer.max}, not {self.zero_point!r}")


@dataclass(frozen=True, kw_only=True)
class Layout:
    """How an (H, W, C) array becomes the ONNX tensor of one frame: ``array.transpose(axes).reshape(shape)``.

    Parameters
    ----------
    axes
        A permutation of (0, 1, 2).
    shape
        Of the ONNX tensor, its batch dimension (1) included.
    """

    axes: tuple[int, int, int]
    shape: tuple[int, ...]

    def to_onnx(self, frames: np.ndarray) -> np.ndarray:
        """(frames, H, W, C) to (frames, *shape[1:])."""
        return frames.transpose(0, *(a + 1 for a in self.axes)).reshape(len(frames), *self.shape[1:])

    def from_onnx(self, array: np.ndarray, hwc: tuple[int, int, int]) -> np.ndarray:
        """(frames, *shape[1:]) to (frames, H, W, C)."""
        permuted = array.reshape(len(array), *(hwc[a] for a in self.axes))
        return permuted.transpose(0, *(int(a) + 1 for a in np.argsort(self.axes)))


@dataclass(frozen=True, kw_only=True)
class Alias:
    """An ONNX tensor that holds the numbers of a :class:`Tensor`."""

    name: str
    layout: Layout


@dataclass(frozen=True, kw_only=True)
class Tensor:
    """An integer tensor.

    Parameters
    ----------
    name
        Unique in the graph, a valid Verilog identifier.
    shape
        (H, W, C).
    aliases
        The ONNX tensors with these numbers that ONNX Runtime can be asked for: QuantizeLinear outputs, or outputs of
        QLinear operators. May be empty (a tensor made by a rewrite).
    """

    name: str
    shape: tuple[int, int, int]
    type: QuantType
    aliases: tuple[Alias, ...] = ()

    @property
    def elements(self) -> int:
        return int(np.prod(self.shape))


@dataclass(frozen=True, kw_only=True, eq=False)
class Node:
    """An operator; ``inputs`` and ``output`` are tensor names, ``onnx_names`` the ONNX nodes it stands for."""

    arity: ClassVar[int | None] = 1  #: how many inputs; None: two or more

    name: str
    inputs: tuple[str, ...]
    output: str
    onnx_names: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, eq=False)
class Linear(Node):
    """Weighted sums: ``y = clip(rint(float32(acc) * scale[o]) + zero_point_y, lo, hi)``, ``acc`` an exact integer.

    Parameters
    ----------
    weights
        Integers, their zero point subtracted. See the subclasses for the shape; axis 0 is the output channel.
    bias
        (O,) integers in units of the accumulator.
    scale
        (O,) float32: ``f32(f32(sx * sw) / sy)``.
    lo, hi
        Output clamp in quantised units: the type's limits, narrowed by Relu or Clip.
    """

    weights: np.ndarray
    bias: np.ndarray
    scale: np.ndarray
    lo: int
    hi: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Conv(Linear):
    """Convolution, grouped or depthwise too. ``weights``: (O, I/groups, kh, kw). Pads with the input zero point."""

    kernel: Pair
    strides: Pair = (1, 1)
    dilations: Pair = (1, 1)
    pads: Pads = (0, 0, 0, 0)
    groups: int = 1

    @property
    def depthwise(self) -> bool:
        return self.groups > 1 and self.weights.shape[:2] == (self.groups, 1)


@dataclass(frozen=True, kw_only=True, eq=False)
class Dense(Linear):
    """Fully connected layer. ``weights``: (O, H·W·C), columns in the order of the input's stream. Output (1, 1, O)."""


@dataclass(frozen=True, kw_only=True, eq=False)
class MatMul(Node):
    """Products of two activations, matrices for each group: ``y = clip(rint(float32(acc) * scale) + zero_point_y, lo, hi)``.

    ``acc[m, g, n]`` is the sum over k of ``(a[m, g, k] - zero_point_a) * (b[k, g, n] - zero_point_b)``. Both operands are their
    streams, cut up anew: (M, groups, depth) and (depth, groups, N), or (N, groups, depth) where the second is ``transposed``.
    The output is (M, groups, N): attention's heads are groups of channels.

    Parameters
    ----------
    depth
        Products in a sum.
    scale
        float32: ``f32(f32(sa * sb) / sy)``.
    lo, hi
        As for :class:`Linear`.
    """

    arity: ClassVar[int | None] = 2
    groups: int
    depth: int
    transposed: bool
    scale: np.float32
    lo: int
    hi: int


@dataclass(frozen=True, kw_only=True, eq=False)
class MaxPool(Node):
    """Maximum over windows; padding never wins. Input and output have the same type."""

    kernel: Pair
    strides: Pair = (1, 1)
    dilations: Pair = (1, 1)
    pads: Pads = (0, 0, 0, 0)


@dataclass(frozen=True, kw_only=True, eq=False)
class AveragePool(Node):
    """Mean over windows as ONNX Runtime's float kernel computes it (DESIGN: sequential float32 sum)."""

    kernel: Pair
    strides: Pair = (1, 1)
    pads: Pads = (0, 0, 0, 0)
    count_include_pad: bool = False


@dataclass(frozen=True, kw_only=True, eq=False)
class GlobalAveragePool(Node):
    """Mean over the whole image: ``clip(rint(f32(sum(x - zx)) * scale) + zy)`` with ``scale = f32(sx / (H·W·sy))``."""

    scale: np.float32


@dataclass(frozen=True, kw_only=True, eq=False)
class Add(Node):
    """Sum of two tensors with differing types, clamped to ``lo..hi``."""

    arity: ClassVar[int | None] = 2
    lo: int
    hi: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Table(Node):
    """A function of one element: ``y = table[x - x_type.min]``. ``function`` names it for the reader (Sigmoid, Relu...)."""

    table: np.ndarray
    function: str


@dataclass(frozen=True, kw_only=True, eq=False)
class Concat(Node):
    """Channels of several tensors of the same type, one after the other."""

    arity: ClassVar[int | None] = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Pad(Node):
    """Rows and columns of ``value`` around the image."""

    pads: Pads
    value: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Softmax(Node):
    """Softmax over the channels of each pixel."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ArgMax(Node):
    """Index of the largest channel of a (1, 1, C) tensor, the first of equals (``last``: the last). Output (1, 1, 1)."""

    last: bool = False


@dataclass(frozen=True, kw_only=True)
class HostTensor:
    """The model's input or output as the user sees it.

    Parameters
    ----------
    name, layout
        Of the ONNX model's own input or output.
    dtype
        NumPy dtype there: float32 where the host quantises or dequantises, else the integer's.
    """

    name: str
    layout: Layout
    dtype: str


@dataclass(frozen=True, kw_only=True, eq=False)
class Graph:
    """A network of one input and one output.

    Parameters
    ----------
    nodes
        In topological order.
    tensors
        By name; every tensor has one producer (a node, or it is ``input``).
    input, output
        Tensor names.
    """

    name: str
    nodes: tuple[Node, ...]
    tensors: dict[str, Tensor] = field(repr=False)
    input: str
    output: str
    host_input: HostTensor
    host_output: HostTensor

    def consumers(self, tensor: str) -> tuple[Node, ...]:
        """Nodes that read ``tensor``, one entry for each input that does."""
        return tuple(n for n in self.nodes for i in n.inputs if i == tensor)

    def producer(self, tensor: str) -> Node | None:
        """The node that makes ``tensor``; None for the graph's input."""
        return next((n for n in self.nodes if n.output == tensor), None)

    def digraph(self) -> nx.DiGraph:
        """Tensor names as vertices, an edge from each node's inputs to its output with the node as its ``node`` attribute."""
        g: nx.DiGraph = nx.DiGraph()
        g.add_nodes_from(self.tensors)
        g.add_edges_from((i, n.output, {"node": n}) for n in self.nodes for i in n.inputs)
        return g

    def check(self) -> "Graph":
        """Raise ``ValueError`` where the graph contradicts itself; returns the graph."""
        made = {self.input}
        for node in self.nodes:
            wanted = node.arity
            if len(node.inputs) != wanted if wanted else len(node.inputs) < 2:
                raise ValueError(f"node {node.name}: must have {wanted or 'two or more'} inputs, not {len(node.inputs)}")
            for i in node.inputs:
                if i not in made:
                    raise ValueError(f"node {node.name}: input {i} must be made by an earlier node")
            if node.output in made:
                raise ValueError(f"node {node.name}: tensor {node.output} is made twice")
            made.add(node.output)
        _same("tensors", made, self.tensors)
        if self.output not in made:
            raise ValueError(f"output {self.output} must be a tensor of the graph")
        _same("node names", {n.name for n in self.nodes}, [n.name for n in self.nodes])
        for node in self.nodes:
            expected = output_shape(node, [self.tensors[i] for i in node.inputs])
            if self.tensors[node.output].shape != expected:
                raise ValueError(f"node {node.name}: output must be {expected}, not {self.tensors[node.output].shape}")
        return self


def _same(what: str, a: set[str], b: Iterable[str]) -> None:
    names = list(b)
    if len(set(names)) != len(names) or set(names) != a:
        raise ValueError(f"{what} must be unique and used: {sorted(a ^ set(names))}")


def window_count(size: int, kernel: int, stride: int, dilation: int, before: int, after: int) -> int:
    """Windows along one axis: floor((size + before + after - dilation·(kernel-1) - 1) / stride) + 1."""
    return (size + before + after - dilation * (kernel - 1) - 1) // stride + 1


def output_shape(node: Node, inputs: list[Tensor]) -> tuple[int, int, int]:
    """The shape (H, W, C) that ``node`` makes of ``inputs``."""
    h, w, c = inputs[0].shape
    match node:
        case Dense():
            return 1, 1, len(node.weights)
        case Conv() | MaxPool() | AveragePool():
            dilations = (1, 1) if isinstance(node, AveragePool) else node.dilations
            top, left, bottom, right = node.pads
            channels = len(node.weights) if isinstance(node, Conv) else c
            return (
                window_count(h, node.kernel[0], node.strides[0], dilations[0], top, bottom),
                window_count(w, node.kernel[1], node.strides[1], dilations[1], left, right),
                channels,
            )
        case MatMul():
            run = node.groups * node.depth
            if any(t.elements % run for t in inputs):
                raise ValueError(f"node {node.name}: its inputs must have multiples of {run} elements")
            return inputs[0].elements // run, node.groups, inputs[1].elements // run
        case GlobalAveragePool():
            return 1, 1, c
        case Concat():
            return h, w, sum(t.shape[2] for t in inputs)
        case Pad():
            top, left, bottom, right = node.pads
            return h + top + bottom, w + left + right, c
        case ArgMax():
            return 1, 1, 1
        case _:
            return h, w, c
