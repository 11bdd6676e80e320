import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from hwgen import oracle
from hwgen.arith import IntType
from hwgen.errors import HwgenError
from hwgen.graph import QuantType
from hwgen.oracle import Oracle, cpu_features, float_sums, quantize_outputs, run_unary

from .shared_models import MODELS, needs_models

INT8, UINT8 = IntType(8), IntType(8, False)


def qdq_model(weights, x_shape, op="MatMul", batch=1):
    """DQ(x), DQ(weights) → op → Q, int8, scales 1/8, 1/16, 1/4."""
    constants = {"sx": 1 / 8, "sw": 1 / 16, "sy": 1 / 4}
    initializers = [numpy_helper.from_array(np.float32(v).reshape(()), k) for k, v in constants.items()]
    initializers += [
        numpy_helper.from_array(np.int8(3).reshape(()), "z"),
        numpy_helper.from_array(np.int8(0).reshape(()), "zw"),
    ]
    nodes = [
        helper.make_node("DequantizeLinear", ["x", "sx", "z"], ["xf"]),
        helper.make_node("DequantizeLinear", ["w", "sw", "zw"], ["wf"]),
        helper.make_node(op, ["xf", "wf"], ["yf"]),
        helper.make_node("QuantizeLinear", ["yf", "sy", "z"], ["y"]),
        helper.make_node("DequantizeLinear", ["y", "sy", "z"], ["out"]),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", onnx.TensorProto.INT8, [batch, *x_shape])],
        [helper.make_tensor_value_info("out", onnx.TensorProto.FLOAT, None)],
        [*initializers, numpy_helper.from_array(weights, "w")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=99)


@pytest.mark.parametrize("batch", [1, "n"])
def test_matmul_is_the_integer_expression(batch):
    rng = np.random.default_rng(1)
    w = rng.integers(-128, 128, (40, 7), np.int8)
    x = rng.integers(-128, 128, (50, 40), np.int8)
    model = qdq_model(w, (40,), batch=batch)
    before = model.SerializeToString()
    got = Oracle(model).run(x, ["y"])
    acc = (x.astype(np.int64) - 3) @ w
    want = np.clip(np.rint(acc.astype(np.float32) * np.float32(1 / 32)) + 3, -128, 127)
    assert got["y"].dtype == np.int8
    assert (got["y"] == want).all(), cpu_features()
    assert (got["out"] == (want - 3) / 4).all()
    assert list(got) == ["y", "out"]
    assert model.SerializeToString() == before


@needs_models
@pytest.mark.parametrize("name", ["kws", "ic", "vww", "ad"])
@pytest.mark.parametrize("variant", ["nchw", "tf2onnx"])
def test_shared_models_agree_with_their_samples_whatever_is_exposed(name, variant):
    model = onnx.load(MODELS / name / f"{name}_int8_qdq_{variant}.onnx")
    samples = np.load(MODELS / name / "samples.npz")
    x = samples["inputs"][:16]
    if variant == "tf2onnx" and x.ndim == 4:
        x = np.ascontiguousarray(x.transpose(0, 2, 3, 1))
    reference = Oracle(model)
    (output,) = reference.outputs
    names = quantize_outputs(model)
    assert (reference.run(x)[output] == samples["outputs"][:16]).all(), cpu_features()
    every = reference.run(x, names)
    assert set(every) == {*names, output}
    assert float_sums(model) == ()
    assert all(v.dtype == np.int8 and len(v) == 16 for v in every.values())
    assert (every[output] == samples["outputs"][:16]).all(), cpu_features()


@needs_models
@pytest.mark.parametrize(("file", "key"), [("sym_perch", "outputs"), ("asym_u8", "outputs_asym_u8")])
def test_digits_agree_with_their_samples(file, key):
    model = onnx.load(MODELS / "digits" / f"digits_cnn_int8_qdq_{file}.onnx")
    samples = np.load(MODELS / "digits" / "samples.npz")
    got = Oracle(model).run(samples["inputs"], quantize_outputs(model))
    assert (got["logits"] == samples[key]).all(), cpu_features()


def test_float_sums_are_found():
    assert float_sums(qdq_model(np.ones((4, 2), np.int8), (4,))) == ()
    model = qdq_model(np.ones((4, 2), np.int8), (4,))
    relu = helper.make_node("Relu", ["yf"], ["yr"])  # its zero point is not the type's minimum: no integer kernel
    model.graph.node[3].input[0] = "yr"
    model.graph.node.insert(3, relu)
    assert float_sums(model) == ("yf",)


def test_unary_tables():
    x = QuantType(integer=INT8, scale=0.0625, zero_point=5)
    y = QuantType(integer=UINT8, scale=0.03125, zero_point=7)
    real = (np.arange(-128, 128) - 5) * 0.0625
    relu = run_unary([helper.make_node("Relu", ["a"], ["b"])], x, y)
    assert (relu == np.clip(np.maximum(real, 0) * 32 + 7, 0, 255)).all()
    assert relu.dtype == np.int64
    limits = [numpy_helper.from_array(np.array(v, np.float32), n) for n, v in (("lo", -0.125), ("hi", 2.0))]
    clip = run_unary([helper.make_node("Clip", ["a", "lo", "hi"], ["b"])], x, y, initializers=limits)
    assert (clip == np.clip(np.clip(real, -0.125, 2) * 32 + 7, 0, 255)).all()
    assert (run_unary([], x, y) == np.clip(real * 32 + 7, 0, 255)).all()
    square = [helper.make_node("Mul", ["a", "a"], ["b"]), helper.make_node("Neg", ["b"], ["c"])]
    assert (run_unary(square, y, x) == np.clip(np.rint(-((np.arange(256) - 7) ** 2) / 64) + 5, -128, 127)).all()


def test_unary_of_wide_types_is_refused():
    wide = QuantType(integer=IntType(16), scale=1.0, zero_point=0)
    with pytest.raises(ValueError, match=r"^y must be an 8-bit type, not int16$"):
        run_unary([], QuantType(integer=INT8, scale=1.0, zero_point=0), wide)


def test_integer_tensors_are_listed():
    assert quantize_outputs(qdq_model(np.ones((4, 2), np.int8), (4,))) == ("y",)
    kinds = ("QLinearConv", "Relu", "QGemm", "DequantizeLinear", "QLinearAdd", "QuantizeLinear")
    graph = helper.make_graph([helper.make_node(k, ["x"], [f"{k}_out"]) for k in kinds], "g", [], [])
    assert quantize_outputs(helper.make_model(graph)) == (
        "QLinearConv_out",
        "QGemm_out",
        "QLinearAdd_out",
        "QuantizeLinear_out",
    )


def test_errors(capfd):
    good = Oracle(qdq_model(np.ones((4, 2), np.int8), (4,)))
    with pytest.raises(TypeError, match=r"^frames must be int8, not float64$"):
        good.run(np.zeros((1, 4)))
    with pytest.raises(ValueError, match=r"^frames must be \(N, 4\), not \(1, 5\)$"):
        good.run(np.zeros((1, 5), np.int8))
    with pytest.raises(ValueError, match=r"^frames must be \(N, 4\), not \(4,\)$"):
        good.run(np.zeros(4, np.int8))
    with pytest.raises(ValueError, match=r"^frames must be at least 1, not 0$"):
        good.run(np.zeros((0, 4), np.int8))
    with pytest.raises(ValueError, match=r"^names must be outputs of the model's nodes, not \['nothing'\]$"):
        good.run(np.zeros((1, 4), np.int8), ["nothing"])
    with pytest.raises(HwgenError, match=r"^ONNX Runtime does not accept the model: .*Nonsense"):
        Oracle(qdq_model(np.ones((4, 2), np.int8), (4,), op="Nonsense"))
    with pytest.raises(HwgenError, match=r"^ONNX Runtime cannot run the model: .*Add"):
        Oracle(qdq_model(np.ones((4, 2), np.int8), ("n",), op="Add")).run(np.zeros((1, 3), np.int8))
    two = qdq_model(np.ones((4, 2), np.int8), (4,))
    two.graph.input.append(helper.make_tensor_value_info("x2", onnx.TensorProto.INT8, [1]))
    with pytest.raises(HwgenError, match=r"^the model must have one input, not 2$"):
        Oracle(two)
    assert capfd.readouterr() == ("", "")


def test_features_are_told(monkeypatch):
    assert cpu_features().startswith(f"onnxruntime {oracle.onnxruntime.__version__}, ")
    monkeypatch.setattr(oracle, "saturates", lambda: True)
    assert cpu_features().endswith(", 8-bit products saturate")


def test_this_cpu_is_a_reference():
    assert not oracle.saturates(), cpu_features()
