"""Shapes of every tensor of an ONNX network, by ONNX's own inference."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import onnx
from onnx import helper, inliner, shape_inference

from ..errors import HwgenError

__all__ = ["Shapes"]

LARGE = 4096  #: elements; constants as large hold no shapes
QOPERATORS = {
    "QLinearConv": ("Conv", (0, 3, 8)), "QLinearMatMul": ("MatMul", (0, 3)), "QGemm": ("Gemm", (0, 3, 6)),
    "QLinearAdd": ("Add", (0, 3)), "QLinearMul": ("Mul", (0, 3)), "QLinearSigmoid": ("Sigmoid", (0,)),
    "QLinearLeakyRelu": ("LeakyRelu", (0,)), "QLinearSoftmax": ("Softmax", (0,)), "QLinearAveragePool": ("AveragePool", (0,)),
    "QLinearGlobalAveragePool": ("GlobalAveragePool", (0,)),
}  # fmt: skip  # the same on real numbers, and its operands


@dataclass(frozen=True, eq=False)
class Shapes:
    """A network as :func:`Shapes.of` prepares it; ``shapes[name]`` is a tensor's shape.

    Parameters
    ----------
    graph
        Without local functions and QLinear operators (their real counterparts instead), a symbolic batch being 1.
    constants
        Names of initializers.
    """

    graph: onnx.GraphProto
    constants: frozenset[str]
    known: dict[str, tuple[int, ...]]
    makers: dict[str, str]

    @classmethod
    def of(cls, model: onnx.ModelProto) -> "Shapes":
        """Infer the shapes of ``model``, which stays as it is."""
        own = onnx.ModelProto()
        own.CopyFrom(inliner.inline_local_functions(model) if model.functions else model)
        constants = frozenset(t.name for t in own.graph.initializer)
        for tensor in own.graph.initializer:
            _forget_large(tensor)
        nodes = [_plain(node) for node in own.graph.node]
        del own.graph.node[:]
        own.graph.node.extend(nodes)
        _one_frame(own.graph, constants)
        try:
            own = shape_inference.infer_shapes(own, check_type=False, strict_mode=False, data_prop=True)
        except (shape_inference.InferenceError, ValueError, RuntimeError) as error:
            raise HwgenError(f"ONNX's shape inference fails: {' '.join(str(error).split())[:300]}") from None
        known = {t.name: tuple(t.dims) for t in own.graph.initializer}
        for value in (*own.graph.value_info, *own.graph.output, *own.graph.input):
            shape = _shape(value)
            if shape is not None:
                known.setdefault(value.name, shape)
        makers = {n: f"{node.op_type} {node.name or n}" for node in own.graph.node for n in node.output}
        return cls(graph=own.graph, constants=constants, known=known, makers=makers)

    def __getitem__(self, name: str) -> tuple[int, ...]:
        if name not in self.known:
            where = f"output {name} of {self.makers[name]}" if name in self.makers else f"input {name}"
            raise HwgenError(
                f"{where}: its shape can't be known beforehand; give all inputs fixed shapes and export the model again"
            )
        return self.known[name]

    def reads(self, node: onnx.NodeProto) -> Iterator[str]:
        """Names that a node reads, those inside its subgraphs included."""
        yield from (n for n in node.input if n)
        for graph in _subgraphs(node):
            inner = {i.name for i in graph.input} | {t.name for t in graph.initializer}
            inner.update(n for each in graph.node for n in each.output)
            for each in graph.node:
                yield from (n for n in self.reads(each) if n not in inner)
            yield from (o.name for o in graph.output if o.name not in inner)


def _subgraphs(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    for attribute in node.attribute:
        if attribute.type == onnx.AttributeProto.GRAPH:
            yield attribute.g
        elif attribute.type == onnx.AttributeProto.GRAPHS:
            yield from attribute.graphs


def _forget_large(tensor: onnx.TensorProto) -> None:
    """Drop numbers that can't be shapes, so that inference doesn't copy them."""
    size = 1
    for d in tensor.dims:
        size *= d
    if size <= LARGE:
        return
    bare = onnx.TensorProto(name=tensor.name, data_type=tensor.data_type, dims=tensor.dims)
    tensor.CopyFrom(bare)


def _plain(node: onnx.NodeProto) -> onnx.NodeProto:
    """A QLinear operator's counterpart on real numbers; any other node as it is."""
    if any(a.name == "channels_last" and a.i for a in node.attribute):
        return node
    if node.op_type == "QLinearConcat":
        kind, operands = "Concat", list(node.input[2::3])
    elif node.op_type in QOPERATORS:
        kind, places = QOPERATORS[node.op_type]
        operands = [node.input[k] for k in places if k < len(node.input)]
    else:
        return node
    plain = helper.make_node(kind, operands, list(node.output), node.name)
    plain.attribute.extend(node.attribute)
    return plain


def _one_frame(graph: onnx.GraphProto, constants: frozenset[str]) -> None:
    """A first dimension of an input that has no number becomes 1, everywhere."""
    batch = set()
    for value in graph.input:
        dims = value.type.tensor_type.shape.dim
        if value.name not in constants and dims and not dims[0].HasField("dim_value"):
            batch.add(dims[0].dim_param)
            dims[0].dim_value = 1
    for value in (*graph.input, *graph.value_info, *graph.output):
        for d in value.type.tensor_type.shape.dim:
            if d.dim_param and d.dim_param in batch:
                d.dim_value = 1


def _shape(value: onnx.ValueInfoProto) -> tuple[int, ...] | None:
    if not value.type.HasField("tensor_type") or not value.type.tensor_type.HasField("shape"):
        return None
    dims: Sequence[onnx.TensorShapeProto.Dimension] = value.type.tensor_type.shape.dim
    return tuple(d.dim_value for d in dims) if all(d.HasField("dim_value") for d in dims) else None
