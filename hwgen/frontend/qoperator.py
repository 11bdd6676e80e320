"""QLinear operators (QOperator format) rewritten as DequantizeLinear -> operator -> QuantizeLinear."""

from typing import Any

import onnx
from onnx import helper

from .rewriting import Normalised

__all__ = ["QOPERATORS", "to_qdq"]

_UNARY = {"QLinearSigmoid": "Sigmoid", "QLinearLeakyRelu": "LeakyRelu", "QLinearSoftmax": "Softmax",
          "QLinearAveragePool": "AveragePool", "QLinearGlobalAveragePool": "GlobalAveragePool"}  # fmt: skip
_BINARY = {"QLinearAdd": "Add", "QLinearMul": "Mul"}
QOPERATORS = ("QLinearConv", "QLinearMatMul", "QGemm", "QLinearConcat", *_UNARY, *_BINARY)


def to_qdq(n: Normalised) -> None:
    """Replace every QLinear operator of ``n``; tensor names stay."""
    nodes: list[onnx.NodeProto] = []
    for node in n.nodes:
        nodes += _split(n, node) if node.op_type in QOPERATORS else [node]
    n.replace(nodes)


def _split(n: Normalised, node: onnx.NodeProto) -> list[onnx.NodeProto]:
    i = list(node.input)
    attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    made: list[onnx.NodeProto] = []

    def real(x: str, scale: str, zero: str, **kwargs: Any) -> str:
        out = n.fresh(f"{x}_dq")
        made.append(
            helper.make_node("DequantizeLinear", [k for k in (x, scale, zero) if k], [out], n.fresh(f"{out}_node"), **kwargs)
        )
        return out

    def get(k: int) -> str:
        return i[k] if k < len(i) else ""

    match node.op_type:
        case "QLinearConv" if len(i) in (8, 9):
            inputs = [real(*i[:3]), real(*i[3:6], axis=0)]
            if get(8):
                inputs.append(_bias(n, made, i[8], i[1], i[4]))
            op, scale, zero = "Conv", i[6], i[7]
        case "QLinearMatMul" if len(i) == 8:
            inputs, op, scale, zero = [real(*i[:3]), real(*i[3:6], axis=1)], "MatMul", i[6], i[7]
        case "QGemm" if len(i) in (8, 9):
            axis = 0 if attributes.get("transB") else 1
            inputs = [real(*i[:3]), real(*i[3:6], axis=axis)]
            if i[6]:
                inputs.append(_bias(n, made, i[6], i[1], i[4]))
            op, scale, zero = "Gemm", i[7], get(8)
        case "QLinearConcat" if len(i) >= 5 and len(i) % 3 == 2:
            inputs = [real(*i[k : k + 3]) for k in range(2, len(i), 3)]
            op, scale, zero = "Concat", i[0], i[1]
        case kind if kind in _BINARY and len(i) in (7, 8):
            inputs, op, scale, zero = [real(*i[:3]), real(*i[3:6])], _BINARY[kind], i[6], get(7)
        case kind if kind in _UNARY and len(i) in (4, 5):
            inputs, op, scale, zero = [real(*i[:3])], _UNARY[kind], i[3], get(4)
        case _:
            return [node]  # malformed; the importer says so
    if attributes.pop("channels_last", 0):
        return [node]
    opset = attributes.pop("opset", 13)
    if op == "Softmax" and opset < 13 and attributes.get("axis", 1) not in (-1, 1):
        return [node]
    y = n.fresh(f"{node.output[0]}_real")
    made.append(helper.make_node(op, inputs, [y], node.name, **attributes))
    made.append(helper.make_node("QuantizeLinear", [k for k in (y, scale, zero) if k], list(node.output), n.fresh(f"{y}_q")))
    n.notes[node.name] = f"DequantizeLinear, {op}, QuantizeLinear"
    return made


def _bias(n: Normalised, made: list[onnx.NodeProto], bias: str, x_scale: str, w_scale: str) -> str:
    """Dequantise an int32 bias with the product of the scales, as QLinear operators mean it."""
    sx, sw = n.array(x_scale), n.array(w_scale)
    if sx is None or sw is None or sx.size != 1:
        return bias
    scale = n.constant(f"{bias}_scale", (sx.reshape(()) * sw).astype("float32"))
    out = n.fresh(f"{bias}_dq")
    made.append(helper.make_node("DequantizeLinear", [bias, scale], [out], n.fresh(f"{out}_node"), axis=0))
    return out
