"""Rewrite a quantised model so that every operator stands between DequantizeLinear and QuantizeLinear.

The result computes the same numbers, and ONNX Runtime runs all of it with integer kernels: it is the reference that the
accelerator equals bit for bit. Where the file leaves a layer in float (a Clip or a Relu with an inner zero point between a
convolution and its QuantizeLinear), ONNX Runtime's float sums differ from exact ones in rare ties; the rewritten model's
do not.
"""

import numpy as np
import onnx
from onnx import helper

from .constants import fold_constants, fold_weights, quantise_biases
from .qoperator import to_qdq
from .rewriting import LAYOUT, Normalised

__all__ = ["normalise"]

MONOTONE = ("Clip", "MaxPool", "Relu", *LAYOUT)  #: commute with rounding: a QuantizeLinear behind may move before
CORE = ("Add", "AveragePool", "Concat", "Conv", "Gemm", "GlobalAveragePool", "MatMul")  #: need a QuantizeLinear right behind


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
    fold_constants(n)
    to_qdq(n)
    _merge_quantisers(n)
    fold_weights(n)
    _global_average(n)
    quantise_biases(n)
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
