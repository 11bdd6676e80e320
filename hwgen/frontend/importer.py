"""From a model to its :class:`Graph`, or to a report on every operator."""

from dataclasses import dataclass, replace
from pathlib import Path

import onnx

from ..errors import HwgenError
from ..graph import Graph
from .load import check_model, load_onnx
from .normalise import normalise
from .supported import ADVICE, ELEMENTWISE, NO_ADVICE, OPERATORS, SUPPORTED
from .values import UnsupportedError
from .walk import Walk

__all__ = ["OperatorReport", "explain", "import_model", "reference_model"]


@dataclass(frozen=True, kw_only=True)
class OperatorReport:
    """What becomes of one ONNX operator: ``status`` is "supported", "rewritten" or "unsupported"."""

    name: str
    op_type: str
    status: str
    detail: str
    advice: str = ""


def import_model(model: onnx.ModelProto | str | Path) -> Graph:
    """The graph of a quantised model; its integers equal ONNX Runtime's on :func:`reference_model`.

    Raises
    ------
    HwgenError
        The model is invalid, not quantised, or has operators that are not supported (all of them are named).
    """
    model = check_model(model) if isinstance(model, onnx.ModelProto) else load_onnx(model)
    _refuse_float(model)
    walk = Walk(normalise(model))
    if walk.failures:
        lines = list(dict.fromkeys(f"{n.op_type} {n.name}: {e}" for n, e in walk.failures))
        more = "" if len(lines) == 1 else f"\n(and {len(lines) - 1} more)\n" + "\n".join(lines[1:20])
        raise HwgenError(lines[0] + more)
    return walk.graph()


def reference_model(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model that ONNX Runtime computes with integers only: ``model`` with each operator between Q and DQ."""
    return normalise(check_model(model)).model


def explain(model: onnx.ModelProto) -> list[OperatorReport]:
    """What becomes of each operator of ``model``, in file order. Float models are judged as if quantised."""
    model = check_model(model)
    float_model = not _quantised(model)
    n = normalise(model)
    walk = Walk(n)
    failures = {node.name: e for node, e in reversed(walk.failures)}
    nodes = walk.b.nodes if walk.failures else walk.graph().nodes
    owners = {name: node.name for node in nodes for name in node.onnx_names}
    rows = []
    for name, node in zip(n.given_names, model.graph.node, strict=True):
        row = OperatorReport(name=name, op_type=node.op_type, status="supported", detail=owners.get(name, "no hardware"))
        failure = None if float_model else failures.get(name)
        if float_model:
            if node.op_type in (*SUPPORTED, "Constant", "Shape", "BatchNormalization", "ReduceMean"):
                row = replace(row, detail="once quantised", advice="give --calibration")
            else:
                failure = UnsupportedError(f"{node.op_type} is not supported", ADVICE.get(node.op_type, NO_ADVICE))
        if failure is not None:
            row = replace(row, status="unsupported", detail=failure.reason, advice=failure.advice)
        elif name in n.notes and not float_model:
            row = replace(row, status="rewritten", detail=f"{n.notes[name]} ({row.detail})")
        rows.append(row)
    return rows


def _quantised(model: onnx.ModelProto) -> bool:
    return any(
        n.op_type.endswith(("QuantizeLinear", "DequantizeLinear")) or n.op_type.startswith(("QLinear", "QGemm"))
        for n in model.graph.node
    )


def _refuse_float(model: onnx.ModelProto) -> None:
    computes = [n for n in model.graph.node if n.op_type in (*OPERATORS, *ELEMENTWISE, "BatchNormalization", "MaxPool")]
    if not _quantised(model) and computes:
        n = computes[0]
        raise HwgenError(f"{n.op_type} {n.name or n.output[0]}: float model: give --calibration SAMPLES.npz to quantise it")
