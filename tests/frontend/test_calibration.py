import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from hwgen.errors import HwgenError
from hwgen.frontend.calibration import load_samples, quantize_float
from hwgen.oracle import Oracle, cpu_features, float_sums, quantize_outputs

from ..shared_models import MODELS, needs_models

REPOSITORY = Path(__file__).parents[2]


def float_model(batch=1, dtype=TensorProto.FLOAT):
    """Conv, batch normalisation, HardSwish, Tanh, mean of the image, MatMul, Add on a (3, 8, 8) image."""
    rng = np.random.default_rng(3)
    sizes = {"w": (6, 3, 3, 3), "scale": 6, "shift": 6, "mean": 6, "dense": (6, 4), "bias": 4}
    constants = {k: rng.normal(0, 0.5, v).astype(np.float32) for k, v in sizes.items()}
    constants["var"] = rng.uniform(0.5, 2, 6).astype(np.float32)
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("BatchNormalization", ["c", "scale", "shift", "mean", "var"], ["n"]),
        helper.make_node("HardSwish", ["n"], ["h"]),
        helper.make_node("Tanh", ["h"], ["t"]),
        helper.make_node("ReduceMean", ["t"], ["f"], axes=[2, 3], keepdims=0),
        helper.make_node("MatMul", ["f", "dense"], ["m"]),
        helper.make_node("Add", ["m", "bias"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "float",
        [helper.make_tensor_value_info("x", dtype, [batch, 3, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [batch, 4])],
        [numpy_helper.from_array(v, k) for k, v in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])


def samples(n=20):
    return np.random.default_rng(4).normal(0, 1, (n, 3, 8, 8)).astype(np.float32)


@pytest.mark.parametrize("batch", [1, "n"])
def test_everything_becomes_integer_and_stays_close(batch, capfd, caplog):
    model = float_model(batch)
    before = model.SerializeToString()
    quantised = quantize_float(model, samples())
    assert model.SerializeToString() == before
    operators = [n.op_type for n in quantised.graph.node if n.op_type not in ("QuantizeLinear", "DequantizeLinear")]
    assert operators == ["Conv", "HardSwish", "Tanh", "GlobalAveragePool", "Flatten", "Gemm"]
    assert len(quantize_outputs(quantised)) == 7  # the input, and every operator's output
    assert float_sums(quantised) == ()
    assert [o.domain for o in quantised.opset_import] == [""]
    got, want = (Oracle(m).run(samples())["y"] for m in (quantised, model))
    assert np.abs(got - want).max() < 0.03 * np.abs(want).max(), cpu_features()
    assert capfd.readouterr() == ("", "")
    assert caplog.records == []


def test_weights_are_symmetric_per_channel_and_activations_int8():
    quantised = quantize_float(float_model(), samples())
    constants = {i.name: numpy_helper.to_array(i) for i in quantised.graph.initializer}
    weights = [
        n for n in quantised.graph.node if n.op_type == "DequantizeLinear" and constants.get(n.input[0], np.int32(0)).ndim > 1
    ]
    assert sorted(constants[n.input[1]].size for n in weights) == [4, 6]
    assert all(constants[n.input[0]].dtype == np.int8 and not constants[n.input[2]].any() for n in weights)
    activations = [n for n in quantised.graph.node if n.op_type == "QuantizeLinear"]
    assert {constants[n.input[2]].dtype for n in activations} == {np.dtype(np.int8)}
    assert any(constants[n.input[2]] != 0 for n in activations)


def test_hard_sigmoid_products_that_are_no_hard_swish_stay():
    gate = helper.make_node("HardSigmoid", ["n"], ["gate"], alpha=0.2)
    old = float_model()
    old.graph.node[2].CopyFrom(helper.make_node("Mul", ["gate", "n"], ["h"]))
    old.graph.node.insert(2, gate)
    assert "Mul" in [n.op_type for n in quantize_float(old, samples()).graph.node]
    old.graph.node[2].attribute[0].f = 1 / 6
    assert "HardSwish" in [n.op_type for n in quantize_float(old, samples()).graph.node]
    old.opset_import[0].version = 13
    assert "HardSwish" not in [n.op_type for n in quantize_float(old, samples()).graph.node]


def test_same_bytes_whatever_the_hash_seed():
    program = (
        "import hashlib; from tests.frontend.test_calibration import *;"
        "print(hashlib.sha256(quantize_float(float_model(), samples()).SerializeToString()).hexdigest())"
    )
    here = hashlib.sha256(quantize_float(float_model(), samples()).SerializeToString()).hexdigest()
    for seed in "12":
        done = subprocess.run(
            [sys.executable, "-c", program],
            capture_output=True,
            text=True,
            check=True,
            cwd=REPOSITORY,
            env={**os.environ, "PYTHONHASHSEED": seed},
        )
        assert done.stdout.strip() == here


def accuracy(model, x, labels):
    reference = Oracle(model)
    return float((reference.run(x)[reference.outputs[0]].argmax(1) == labels).mean())


@needs_models
def test_digits_keep_their_accuracy():
    data = np.load(MODELS / "digits" / "samples.npz")
    model = onnx.load(MODELS / "digits" / "digits_cnn_float.onnx")
    quantised = quantize_float(model, load_samples(MODELS / "digits" / "samples.npz")[:100])
    assert float_sums(quantised) == ()
    x, labels = data["inputs"], data["labels"]
    assert accuracy(quantised, x, labels) >= accuracy(model, x, labels) - 0.01


@needs_models
def test_resnet_keeps_its_accuracy():
    data = np.load(MODELS / "ic" / "samples.npz")
    model = onnx.load(MODELS / "ic" / "ic_float_nchw.onnx")
    x = data["inputs"].astype(np.float32) + 128  # its int8 input has scale 1 and zero point -128
    quantised = quantize_float(model, x[:32])
    assert float_sums(quantised) == ()
    assert accuracy(quantised, x, data["labels"]) >= accuracy(model, x, data["labels"]) - 0.02


@needs_models
@pytest.mark.parametrize("file", ["digits/digits_cnn_int8_qdq_asym_u8", "kws/kws_int8_qdq_nchw"])
def test_quantised_models_are_refused(file):
    message = "^the model is already quantised: calibration is for float models, leave --calibration out$"
    with pytest.raises(HwgenError, match=message):
        quantize_float(onnx.load(MODELS / f"{file}.onnx"), samples())


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (samples()[:, :, :7], r"must be (N, 3, 8, 8) as the model's input, not (20, 3, 7, 8)"),
        (samples()[0], r"must be (N, 3, 8, 8) as the model's input, not (3, 8, 8)"),
        (samples()[:0], r"must not be empty, but are (0, 3, 8, 8)"),
        (np.full((2, 3, 8, 8), np.nan), r"must be finite float32 numbers, not nan (at (0, 0, 0, 0))"),
        (
            np.where(np.arange(8) == 5, 1e300, samples().astype(float)),
            r"must be finite float32 numbers, not 1e+300 (at (0, 0, 0, 5))",
        ),
        (np.full((2, 3, 8, 8), "cat"), r"must be numbers, not <U3"),
        (np.zeros((2, 3, 8, 8), complex), r"must be numbers, not complex128"),
    ],
)
def test_samples_that_do_not_fit(array, message):
    with pytest.raises(HwgenError) as error:
        quantize_float(float_model(), array)
    assert str(error.value) == f"calibration samples {message}"


def test_integers_are_samples_too():
    got = quantize_float(float_model(), np.arange(5 * 192).reshape(5, 3, 8, 8) % 5)
    assert "QuantizeLinear" in [n.op_type for n in got.graph.node]


def test_models_that_cannot_be_calibrated():
    two = float_model()
    two.graph.input.append(helper.make_tensor_value_info("x2", TensorProto.FLOAT, [1]))
    with pytest.raises(HwgenError, match=r"^the model must have one input to be calibrated, not 2$"):
        quantize_float(two, samples())
    with pytest.raises(HwgenError, match=r"^model input x: must be float32 to be calibrated$"):
        quantize_float(float_model(dtype=TensorProto.DOUBLE), samples())
    broken = float_model()
    broken.graph.node[2].op_type = "Nonsense"
    with pytest.raises(HwgenError, match=r"^ONNX Runtime does not accept the model: .*Nonsense"):
        quantize_float(broken, samples())


def test_load_samples(tmp_path):
    np.savez(tmp_path / "good.npz", inputs=samples(), labels=np.zeros(20))
    assert (load_samples(tmp_path / "good.npz") == samples()).all()


DAMAGED = "not an .npz file (numpy.savez), damaged, or not of numbers"


def test_damaged_files(tmp_path):
    rng = np.random.default_rng(5)
    path = tmp_path / "flipped.npz"
    for k, save in enumerate((np.savez, np.savez_compressed) * 150):
        save(path, inputs=samples(1))
        data = bytearray(path.read_bytes())
        for _ in range(1 + k % 3):
            data[int(rng.choice([rng.integers(len(data)), rng.integers(200), len(data) - 1 - rng.integers(150)]))] = (
                rng.integers(256)
            )
        path.write_bytes(data)
        try:
            assert load_samples(path).dtype.kind in "fiu"
        except HwgenError as error:
            assert str(error).startswith(f"calibration file {path}: ")  # noqa: PT017


def test_files_that_are_no_samples(tmp_path):
    def refused(name, message):
        with pytest.raises(HwgenError) as error:
            load_samples(tmp_path / name)
        assert str(error.value).startswith(f"calibration file {tmp_path / name}: {message}")

    refused("missing.npz", "does not exist")
    refused(".", "cannot be read (Is a directory)")
    (tmp_path / "text.npz").write_text("no numbers here")
    refused("text.npz", DAMAGED)
    (tmp_path / "empty.npz").write_bytes(b"")
    refused("empty.npz", DAMAGED)
    np.savez(tmp_path / "good.npz", inputs=samples())
    whole = (tmp_path / "good.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(whole[: len(whole) // 2])
    refused("cut.npz", DAMAGED)
    damaged = bytearray(whole)
    damaged[2000] ^= 255
    (tmp_path / "damaged.npz").write_bytes(damaged)
    refused("damaged.npz", DAMAGED)
    np.savez(tmp_path / "named.npz", x=samples(), y=samples())
    refused("named.npz", "must have an array named inputs; it has x, y")
    np.savez(tmp_path / "strings.npz", inputs=np.array(["cat", "dog"]))
    refused("strings.npz", "inputs must be numbers, not <U3")
    np.savez(tmp_path / "objects.npz", inputs=np.array([{}, []], object), allow_pickle=True)
    refused("objects.npz", DAMAGED)
    np.save(tmp_path / "single.npy", samples())
    refused("single.npy", "must be an .npz file with an array named inputs, not a single array")
