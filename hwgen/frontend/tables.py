"""Functions of one element as tables of 256 entries, filled by running ONNX Runtime."""

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from ..graph import QuantType, Table
from ..oracle import Oracle, run_unary
from .builder import Builder
from .values import Activation, Pending, UnsupportedError

__all__ = ["function", "reinterpret", "requantise"]


def requantise(b: Builder, x: Activation, out: QuantType, onnx_names: Any) -> Activation:
    """``x`` with the type ``out``: itself, or through a table."""
    if b.type(x) == out:
        return Activation(tensor=x.tensor, order=x.order, real=False)
    table = run_unary([], b.type(x), out)
    name = b.add(Table, "requant", (x.tensor,), out, onnx_names, table=table, function="Requantise")
    return Activation(tensor=name, order=x.order, real=False)


def reinterpret(b: Builder, x: Activation, type: QuantType, onnx_names: Any) -> Activation:
    """The same integers with another scale or zero point."""
    table = np.arange(type.integer.min, type.integer.max + 1)
    name = b.add(Table, "reinterpret", (x.tensor,), type, onnx_names, table=table, function="Identity")
    return Activation(tensor=name, order=x.order, real=True)


def function(b: Builder, p: Pending, out: QuantType) -> Activation:
    """A table of what ONNX Runtime computes for each of the 256 inputs."""
    (x, source) = p.inputs
    entry = helper.make_node("Identity", [source], [f"{source}_hwgen_entry"])
    nodes = []
    for node in p.nodes:
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        for k, i in enumerate(copy.input):
            if i == source:
                copy.input[k] = entry.output[0]
        nodes.append(copy)
    used = {i for n in nodes for i in n.input}
    chain = nodes if len(nodes) == 1 and nodes[0].input[0] == entry.output[0] else [entry, *nodes]
    initializers = [t for name, t in b.constants.items() if name in used]
    table = run_unary(chain, b.type(x), out, initializers=initializers, opsets=b.opsets)
    compute = [n for n in p.nodes if n.op_type != "DequantizeLinear"]
    if any(n.op_type in ("Div", "Log", "Pow", "Reciprocal", "Sqrt") for n in compute):
        _check_finite(b, chain, initializers, b.type(x))
    function = " ".join(n.op_type for n in compute)
    name = b.add(Table, "table", (x.tensor,), out, [n.name for n in compute], table=table, function=function)
    return Activation(tensor=name, order=x.order, real=False)


def _check_finite(b: Builder, chain: Any, initializers: Any, x: QuantType) -> None:
    """The chain's float results must be numbers: what QuantizeLinear makes of NaN is undefined."""
    values = np.arange(x.integer.min, x.integer.max + 1) - x.zero_point
    graph = helper.make_graph(
        chain,
        "function",
        [helper.make_tensor_value_info(chain[0].input[0], TensorProto.FLOAT, [1, 256])],
        [onnx.ValueInfoProto(name=chain[-1].output[0])],
        initializers,
    )
    real = (values.astype(np.float32) * np.float32(x.scale))[None]
    (result,) = Oracle(helper.make_model(graph, opset_imports=b.opsets)).run(real).values()
    if np.isnan(result).any():
        raise UnsupportedError("it is undefined for some of its inputs", "clip its input to where it is defined")
