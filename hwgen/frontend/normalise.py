"""Rewrite a quantised model so that every operator stands between DequantizeLinear and QuantizeLinear.

The result computes the same numbers, and ONNX Runtime runs all of it with integer kernels: it is the reference that the
accelerator equals bit for bit. Where the file leaves a layer in float (a Clip or a Relu with an inner zero point between a
convolution and its QuantizeLinear), ONNX Runtime's float sums differ from exact ones in rare ties; the rewritten model's
do not.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from .qoperator import to_qdq

__all__ = ["LAYOUT", "Normalised", "normalise"]

LAYOUT = ("Dropout", "Flatten", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze")  #: data stay, shapes change
MONOTONE = ("Clip", "MaxPool", "Relu", *LAYOUT)  #: commute with rounding: a QuantizeLinear behind may move before
CORE = ("Add", "AveragePool", "Concat", "Conv", "Gemm", "GlobalAveragePool", "MatMul")  #: need a QuantizeLinear right behind
FOLDABLE = ("Add", "Cast", "Concat", "Constant", "Div", "Gather", "Identity", "Mul", "Reshape", "Shape", "Slice", "Squeeze",
            "Sub", "Transpose", "Unsqueeze")  # fmt: skip
FOLD_LIMIT = 1 << 24  #: elements


@dataclass(kw_only=True)
class Normalised:
    """A model while it is rewritten.

    Parameters
    ----------
    model
        A copy; its nodes have unique names.
    notes
        For the names of nodes that were rewritten: into what.
    original
        Tensor names of the given model.
    given_names
        Of its nodes, made unique, in file order.
    """

    model: onnx.ModelProto
    notes: dict[str, str] = field(default_factory=dict)
    original: frozenset[str] = frozenset()
    given_names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        self.constants = {t.name: t for t in self.model.graph.initializer}
        self.names = {o for n in self.model.graph.node for o in n.output} | set(self.constants)
        self.names |= {i.name for i in self.model.graph.input}

    @property
    def nodes(self) -> list[onnx.NodeProto]:
        return list(self.model.graph.node)

    def replace(self, nodes: Iterable[onnx.NodeProto]) -> None:
        copies = []
        for node in nodes:
            copies.append(onnx.NodeProto())
            copies[-1].CopyFrom(node)
        del self.model.graph.node[:]
        self.model.graph.node.extend(copies)

    def array(self, name: str) -> np.ndarray | None:
        """The constant ``name``; None where it is not one."""
        return numpy_helper.to_array(self.constants[name]) if name in self.constants else None

    def fresh(self, stem: str) -> str:
        name, k = stem, 0
        while name in self.names:
            name, k = f"{stem}_{k}", k + 1
        self.names.add(name)
        return name

    def constant(self, stem: str, array: np.ndarray) -> str:
        name = self.fresh(stem)
        tensor = numpy_helper.from_array(np.ascontiguousarray(array), name)
        self.model.graph.initializer.append(tensor)
        self.constants[name] = tensor
        return name

    def producers(self) -> dict[str, onnx.NodeProto]:
        return {o: n for n in self.model.graph.node for o in n.output}

    def consumers(self) -> dict[str, list[onnx.NodeProto]]:
        table: dict[str, list[onnx.NodeProto]] = {}
        for node in self.model.graph.node:
            for i in node.input:
                table.setdefault(i, []).append(node)
        return table


def normalise(model: onnx.ModelProto) -> Normalised:
    """Rewrite ``model`` (checked; not changed). Idempotent."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    taken: set[str] = set()
    for node in copy.graph.node:
        stem = node.name or f"{node.op_type}_{node.output[0]}"
        node.name = stem
        while node.name in taken:
            node.name = f"{stem}_{len(taken)}"
        taken.add(node.name)
    for value in (*copy.graph.input, *copy.graph.output):
        dims = value.type.tensor_type.shape.dim
        if dims and not dims[0].HasField("dim_value"):
            dims[0].dim_value = 1
    del copy.graph.value_info[:]
    n = Normalised(model=copy)
    n.original = frozenset(n.names)
    n.given_names = tuple(node.name for node in copy.graph.node)
    _fold_constants(n)
    to_qdq(n)
    _merge_quantisers(n)
    _fold_weights(n)
    _global_average(n)
    _quantise_biases(n)
    _quantise_before_monotone(n)
    _keep_types(n)
    _drop_unused(n)
    return n


def _merge_quantisers(n: Normalised) -> None:
    """A float tensor quantised several times in the same way is quantised once: ONNX Runtime fuses only then."""
    outputs = {o.name for o in n.model.graph.output}
    first: dict[tuple[str, bytes, bytes], str] = {}
    renamed: dict[str, str] = {}
    kept = []
    for node in n.nodes:
        for k, i in enumerate(node.input):
            node.input[k] = renamed.get(i, i)
        arrays = [n.array(i) for i in node.input[1:]] if node.op_type == "QuantizeLinear" else []
        if len(arrays) == 2 and arrays[0] is not None and arrays[1] is not None and node.output[0] not in outputs:
            key = (node.input[0], arrays[0].tobytes(), f"{arrays[1].dtype}{arrays[1]}".encode())
            if key in first:
                renamed[node.output[0]] = first[key]
                n.notes[node.name] = f"the same as {first[key]}"
                continue
            first[key] = node.output[0]
        kept.append(node)
    n.replace(kept)


def _drop_unused(n: Normalised) -> None:
    """Initializers that nothing reads any more."""
    used = {i for node in n.nodes for i in node.input} | {o.name for o in n.model.graph.output}
    kept = [t for t in n.model.graph.initializer if t.name in used]
    del n.model.graph.initializer[:]
    n.model.graph.initializer.extend(kept)
    n.constants = {t.name: t for t in kept}


def _fold_constants(n: Normalised) -> None:
    """Evaluate what depends on initializers only (shape arithmetic, Constant nodes)."""
    shapes = {i.name: i for i in n.model.graph.input}
    if any(node.op_type == "Shape" for node in n.nodes):
        try:
            shapes |= {v.name: v for v in onnx.shape_inference.infer_shapes(n.model).graph.value_info}
        except (onnx.shape_inference.InferenceError, RuntimeError, ValueError):
            pass  # the importer says which operator is at fault
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


def _fold_weights(n: Normalised) -> None:
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


def _global_average(n: Normalised) -> None:
    """ReduceMean over rows and columns becomes GlobalAveragePool (and Flatten)."""
    nodes: list[onnx.NodeProto] = []
    producers = n.producers()
    for node in n.nodes:
        attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        axes = n.array(node.input[1]) if len(node.input) > 1 else attributes.get("axes")
        source = producers.get(node.input[0]) if node.input else None
        negative_or_4d = axes is not None and sorted(int(a) for a in np.ravel(axes)) in ([2, 3], [-2, -1])
        if node.op_type != "ReduceMean" or not negative_or_4d or source is None or source.op_type != "DequantizeLinear":
            nodes.append(node)
            continue
        keep = attributes.get("keepdims", 1)
        pooled = node.output[0] if keep else n.fresh(f"{node.output[0]}_pooled")
        nodes.append(helper.make_node("GlobalAveragePool", [node.input[0]], [pooled], node.name))
        if not keep:
            nodes.append(helper.make_node("Flatten", [pooled], [node.output[0]], n.fresh(f"{node.name}_flatten"), axis=1))
        n.notes[node.name] = "GlobalAveragePool"
    n.replace(nodes)


def _quantise_biases(n: Normalised) -> None:
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


def _pair(n: Normalised, tensor: str, like: onnx.NodeProto) -> tuple[onnx.NodeProto, onnx.NodeProto]:
    """QuantizeLinear and DequantizeLinear behind ``tensor`` with the scale and zero point of ``like``."""
    middle, out = n.fresh(f"{tensor}_q"), n.fresh(f"{tensor}_dq")
    q = helper.make_node("QuantizeLinear", [tensor, *like.input[1:]], [middle], n.fresh(f"{tensor}_QuantizeLinear"))
    dq = helper.make_node("DequantizeLinear", [middle, *like.input[1:]], [out], n.fresh(f"{tensor}_DequantizeLinear"))
    return q, dq


def _insert(n: Normalised, after: onnx.NodeProto, pair: tuple[onnx.NodeProto, onnx.NodeProto], readers: list[str]) -> None:
    """Put ``pair`` behind ``after``; the nodes named ``readers`` then read its output."""
    nodes = []
    for node in n.nodes:
        if node.name in readers:
            for k, i in enumerate(node.input):
                if i == pair[0].input[0]:
                    node.input[k] = pair[1].output[0]
        nodes.append(node)
        if node.name == after.name:
            nodes += pair
    n.replace(nodes)


def _keep_types(n: Normalised) -> None:
    """Behind a dequantised layout operator, MaxPool or zero Pad that feeds an operator: quantise with the type before it."""
    for name in [node.name for node in n.nodes if node.op_type in (*LAYOUT, "MaxPool", "Pad")]:
        node = next(k for k in n.nodes if k.name == name)
        source = n.producers().get(node.input[0]) if node.input else None
        if source is None or source.op_type != "DequantizeLinear" or source.input[0] in n.constants or len(source.input) < 3:
            continue
        if node.op_type == "Pad" and not _pads_zero(n, node):
            continue
        readers = [r.name for r in n.consumers().get(node.output[0], []) if r.op_type != "QuantizeLinear"]
        if readers:
            _insert(n, node, _pair(n, node.output[0], source), readers)


def _pads_zero(n: Normalised, node: onnx.NodeProto) -> bool:
    mode = next((a.s for a in node.attribute if a.name == "mode"), b"constant")
    value = n.array(node.input[2]) if len(node.input) > 2 and node.input[2] else np.zeros(1)
    value = np.array([a.f for a in node.attribute if a.name == "value"] or value)
    return mode == b"constant" and value.size == 1 and value.ravel()[0] == 0


def _quantise_before_monotone(n: Normalised) -> None:
    """core -> Relu, Clip, MaxPool, layout -> QuantizeLinear: quantise right behind the core, too.

    Rounding is monotone, so the numbers stay; but ONNX Runtime runs the core with integers only if it is followed by a
    QuantizeLinear (a Relu whose zero point is the type's least number it drops itself).
    """
    outputs = {o.name for o in n.model.graph.output}
    for name in [node.name for node in n.nodes if node.op_type in CORE]:
        consumers = n.consumers()
        core = next(k for k in n.nodes if k.name == name)
        if core.op_type == "Add" and any(i in n.constants and np.prod(n.constants[i].dims) == 1 for i in core.input):
            continue  # a function of one tensor
        chain: list[onnx.NodeProto] = []
        here = core.output[0]
        while len(consumers.get(here, [])) == 1 and here not in outputs:
            reader = consumers[here][0]
            if core.op_type == "MatMul" and reader.op_type == "Add" and not chain:
                break  # the bias: the Add is a core itself
            if reader.op_type not in MONOTONE or reader.input[0] != here:
                break
            chain.append(reader)
            here = reader.output[0]
        ends = consumers.get(here, [])
        q = ends[0] if ends and ends[0].op_type == "QuantizeLinear" and len(ends[0].input) == 3 else None
        if not chain or q is None or here in outputs:
            continue
        zero = n.array(q.input[2])
        if zero is None or zero.dtype not in (np.int8, np.uint8) or zero.size != 1:
            continue
        if [c.op_type for c in chain] == ["Relu"] and zero.ravel()[0] == np.iinfo(zero.dtype).min:
            continue
        for maker, reader in zip([core, *chain], chain, strict=False):
            _insert(n, maker, _pair(n, maker.output[0], q), [reader.name])
        n.notes[name] = f"quantised before {', '.join(c.op_type for c in chain)}, so that it is computed in integers"
