"""What can be computed at build time: shape arithmetic, transposed weights, integer biases."""

import contextlib
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from .rewriting import Normalised

__all__ = ["fold_constants", "fold_weights", "quantise_biases"]

FOLDABLE = ("Add", "Cast", "Concat", "Constant", "Div", "Gather", "Identity", "Mul", "Reshape", "Shape", "Slice", "Squeeze",
            "Sub", "Transpose", "Unsqueeze")  # fmt: skip
FOLD_LIMIT = 1 << 24  #: elements


def fold_constants(n: Normalised) -> None:
    """Evaluate what depends on initializers only (shape arithmetic, Constant nodes)."""
    shapes = {i.name: i for i in n.model.graph.input}
    if any(node.op_type == "Shape" for node in n.nodes):
        with contextlib.suppress(onnx.shape_inference.InferenceError, RuntimeError, ValueError):  # the importer says more
            shapes |= {v.name: v for v in onnx.shape_inference.infer_shapes(n.model).graph.value_info}
    kept = []
    for node in n.nodes:
        array = None
        if node.op_type == "Shape" and node.domain == "" and node.input[0] in shapes:
            dims = shapes[node.input[0]].type.tensor_type.shape.dim
            if dims and all(d.HasField("dim_value") for d in dims) and not node.attribute:
                array = np.array([d.dim_value for d in dims], np.int64)
        elif node.op_type in FOLDABLE and node.op_type != "Shape" and all(i in n.constants for i in node.input if i):
            array = _evaluate(n, node)
        if array is None or len(node.output) != 1 or array.dtype not in (np.float32, np.int64, np.int32, np.int8, np.uint8):
            kept.append(node)
            continue
        tensor = numpy_helper.from_array(np.ascontiguousarray(array), node.output[0])
        n.model.graph.initializer.append(tensor)
        n.constants[node.output[0]] = tensor
        n.notes[node.name] = "computed at build time"
    n.replace(kept)


def _evaluate(n: Normalised, node: onnx.NodeProto) -> np.ndarray | None:
    inputs = {i: n.array(i) for i in node.input if i}
    if sum(a.size for a in inputs.values() if a is not None) > FOLD_LIMIT:
        return None
    graph = helper.make_graph(
        [node],
        "fold",
        [helper.make_tensor_value_info(i, n.constants[i].data_type, None) for i in inputs],
        [helper.make_tensor_value_info(o, TensorProto.UNDEFINED, None) for o in node.output],
    )
    try:
        model = helper.make_model(graph, opset_imports=list(n.model.opset_import))
        result: Any = ReferenceEvaluator(model).run(None, inputs)
    except (ValueError, TypeError, IndexError, KeyError, RuntimeError, AttributeError, NotImplementedError, AssertionError):
        return None  # left in the graph, where the importer says what is wrong with it
    return np.asarray(result[0]) if len(result) == 1 else None


def fold_weights(n: Normalised) -> None:
    """Transpose of a dequantised matrix: dequantise the transposed one. uint8 weights of an int8 layer become int8."""
    producers = n.producers()
    extra: dict[str, list[onnx.NodeProto]] = {}
    for node in n.nodes:
        weights = producers.get(node.input[0]) if node.input else None
        if node.op_type == "Transpose" and weights is not None and weights.op_type == "DequantizeLinear":
            array = n.array(weights.input[0])
            if array is not None and array.ndim == 2:
                axis = next((a.i for a in weights.attribute if a.name == "axis"), 1)
                stem = f"{weights.input[0]}_transposed"
                inputs = [n.constant(stem, array.T), *weights.input[1:]]
                new = helper.make_node("DequantizeLinear", inputs, [node.output[0]], node.name, axis=(1 - axis) % 2)
                n.notes[node.name] = "weights transposed at build time"
                extra[node.name] = [new]
        if node.op_type in ("Conv", "Gemm", "MatMul") and len(node.input) > 1:
            x, w = producers.get(node.input[0]), producers.get(node.input[1])
            if x is None or w is None or {x.op_type, w.op_type} != {"DequantizeLinear"} or len(x.input) < 3:
                continue
            zero, array = n.array(x.input[2]), n.array(w.input[0])
            if zero is None or zero.dtype != np.int8 or array is None or array.dtype != np.uint8:
                continue
            w_zero = n.array(w.input[2]) if len(w.input) > 2 and w.input[2] else np.zeros((), np.uint8)
            if w_zero is None:
                continue
            inputs = [
                n.constant(f"{w.input[0]}_int8", (array.astype(np.int16) - 128).astype(np.int8)),
                w.input[1],
                n.constant(f"{w.input[0]}_int8_zero_point", (w_zero.astype(np.int16) - 128).astype(np.int8)),
            ]
            new = helper.make_node("DequantizeLinear", inputs, [n.fresh(f"{node.input[1]}_int8")], n.fresh(f"{w.name}_int8"))
            new.attribute.extend(w.attribute)
            changed = onnx.NodeProto()
            changed.CopyFrom(node)
            changed.input[1] = new.output[0]
            n.notes[node.name] = "uint8 weights stored as int8 (128 subtracted from weights and zero point)"
            extra[node.name] = [new, changed]
    n.replace(new for node in n.nodes for new in extra.get(node.name, [node]))


def quantise_biases(n: Normalised) -> None:
    """A float bias becomes int32 with the scale input · weights, as ONNX Runtime does."""
    producers = n.producers()
    nodes: list[onnx.NodeProto] = []
    for node in n.nodes:
        if node.op_type in ("Conv", "Gemm") and len(node.input) > 2 and node.input[2]:
            bias = n.array(node.input[2])
            scales = [
                n.array(p.input[1]) if p is not None and p.op_type == "DequantizeLinear" else None
                for p in (producers.get(i) for i in node.input[:2])
            ]
            sx, sw = scales
            if bias is not None and bias.dtype == np.float32 and bias.ndim == 1 and sx is not None and sw is not None:
                scale = (
                    np.broadcast_to(np.float32(sx.ravel()[:1] * sw.ravel()), bias.shape) if sw.size in (1, bias.size) else None
                )
                if scale is not None and (scale > 0).all():
                    wide = np.clip(np.rint(bias / scale).astype(np.float64), -(2.0**31), 2.0**31 - 1)
                    inputs = [n.constant(f"{node.input[2]}_int32", wide.astype(np.int32))]
                    inputs += [
                        n.constant(f"{inputs[0]}_scale", scale),
                        n.constant(f"{inputs[0]}_zero", np.zeros(bias.size, np.int32)),
                    ]
                    output = n.fresh(f"{inputs[0]}_real")
                    nodes.append(helper.make_node("DequantizeLinear", inputs, [output], n.fresh(f"{node.name}_bias"), axis=0))
                    node.input[2] = output
                    n.notes[node.name] = "float bias rounded to int32 in units of input scale · weight scale"
        nodes.append(node)
    n.replace(nodes)
