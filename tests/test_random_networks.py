import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings

from hwgen.oracle import Oracle, cpu_features, float_sums, quantize_outputs

from .network_specs import Branch, Conv, Dense, NetworkSpec, Pad, Pool, Unary, Weights
from .random_networks import build, frames, random_network, random_spec, specs

REPOSITORY = Path(__file__).parents[1]


def models(n):
    return [(seed, random_spec(np.random.default_rng(seed))) for seed in range(n)]


def test_networks_are_valid_integer_and_the_same_whatever_is_exposed():
    operators, types = set(), set()
    for seed, spec in models(80):
        model, x = build(spec), frames(spec)
        onnx.checker.check_model(model, full_check=True)
        reference, names = Oracle(model), quantize_outputs(model)
        plain, exposed = reference.run(x), reference.run(x, names)
        assert all((plain[n] == exposed[n]).all() for n in reference.outputs), (seed, spec, cpu_features())
        assert float_sums(model) == (), (seed, spec)
        operators |= {n.op_type for n in model.graph.node}
        types |= {exposed[n].dtype.name for n in names}
    assert types == {"int8", "uint8"}
    assert operators == {
        "Add", "ArgMax", "AveragePool", "Clip", "Concat", "Conv", "DequantizeLinear", "Flatten", "Gemm", "GlobalAveragePool",
        "HardSigmoid", "HardSwish", "LeakyRelu", "MatMul", "MaxPool", "Pad", "QuantizeLinear", "Relu", "Sigmoid", "Softmax",
        "Tanh",
    }  # fmt: skip


def test_outputs_use_their_type():
    """Of the tensors without an activation few are constant, and few elements sit at the limits."""
    constant, limits = [], []
    for _, spec in models(60):
        model = build(spec)
        producer = {n.output[0]: n for n in model.graph.node}
        sums = {n.output[0] for n in model.graph.node if n.op_type in ("Conv", "Gemm", "Add")}
        names = [n for n in quantize_outputs(model) if producer[n].input[0] in sums]
        values = Oracle(model).run(frames(spec), names)
        for name in names:
            info = np.iinfo(values[name].dtype)
            constant.append(np.ptp(values[name].astype(int)) == 0)
            limits.append(np.isin(values[name], (info.min, info.max)).mean())
    assert np.mean(constant) < 0.05
    assert np.mean(limits) < 0.15


def test_a_seed_gives_the_same_bytes_in_any_process():
    program = (
        "import hashlib, numpy as np; from tests.random_networks import random_network;"
        "r = [random_network(np.random.default_rng(k)) for k in range(10)];"
        "print(hashlib.sha256(b''.join(m.SerializeToString(deterministic=True) + x.tobytes() for m, x in r)).hexdigest())"
    )
    here = [random_network(np.random.default_rng(k)) for k in range(10)]
    digest = hashlib.sha256(b"".join(m.SerializeToString(deterministic=True) + x.tobytes() for m, x in here)).hexdigest()
    env = {**os.environ, "PYTHONHASHSEED": "7"}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=REPOSITORY, env=env)
    assert done.stdout.strip() == digest


@given(specs())
@settings(
    max_examples=30, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
def test_every_description_of_hypothesis_runs(spec):
    model = build(spec)
    reference = Oracle(model)
    assert len(reference.run(frames(spec, 3))[reference.outputs[0]]) == 3
    assert eval(repr(spec)) == spec  # a failure can be pasted


@pytest.mark.parametrize(
    "layer",
    [
        Conv(channels=5, kernel=(5, 5), dilations=(2, 2), strides=(3, 1), pads=(3, 0, 1, 2), groups=0, activation="Clip"),
        Conv(channels=3, groups=2, weights=Weights(bias=True, per_channel=True, asymmetric=True, power_of_two=True)),
        Pool(operator="AveragePool", kernel=(3, 3), pads=(2, 2, 2, 2), include_pad=True, scale="symmetric"),
        Pool(operator="MaxPool", kernel=(3, 2), strides=(2, 2), pads=(2, 2, 2, 2), scale="power of two"),
        Pad(pads=(2, 0, 1, 2), value=300),
        Unary(operator="HardSwish", scale="of the input"),
        Branch(join="Add", left=(), right=()),
        Branch(
            join="Concat", left=(Conv(channels=2), Pad(pads=(1, 1, 1, 1))), right=(Pool(operator="MaxPool", kernel=(3, 2)),)
        ),
        Branch(join="Add", left=(Conv(channels=2),), right=(Unary(operator="Tanh"),), halve=True, activation="Relu"),
    ],
    ids=lambda layer: type(layer).__name__,
)
@pytest.mark.parametrize("size", [(1, 1, 1), (1, 7, 2), (12, 2, 5)])
@pytest.mark.parametrize("unsigned", [False, True])
def test_every_layer_on_every_size(layer, size, unsigned):
    spec = NetworkSpec(size=size, layers=(layer, layer), unsigned=unsigned, unsigned_weights=unsigned, real=unsigned)
    model = build(spec)
    assert float_sums(model) == ()
    reference = Oracle(model)
    (output,) = reference.outputs
    got = reference.run(frames(spec))[output]
    assert got.dtype == (np.float32 if unsigned else np.int8)
    assert got.shape[1:] == tuple(d.dim_value for d in model.graph.output[0].type.tensor_type.shape.dim)[1:]


@pytest.mark.parametrize("real", [False, True])
def test_endings(real):
    dense = (Dense(channels=4, matmul=True, weights=Weights(bias=True)),)
    kinds = {}
    for ending in ("", "Softmax", "ArgMax"):
        spec = NetworkSpec(size=(3, 3, 2), pool="GlobalAveragePool", dense=dense, ending=ending, real=real)
        reference = Oracle(build(spec))
        got = reference.run(frames(spec))[reference.outputs[0]]
        kinds[ending] = (got.shape, got.dtype.name)
    number = "float32" if real else "int8"
    assert kinds == {"": ((8, 4), number), "Softmax": ((8, 4), number), "ArgMax": ((8, 1), "int64")}


def test_frames_start_with_the_extremes():
    spec = NetworkSpec(size=(2, 3, 4), layers=(Unary(operator="Relu"),))
    x = frames(spec)
    assert x.shape == (8, 4, 2, 3)
    assert x.dtype == np.int8
    assert (x[0] == -128).all()
    assert (x[1] == 127).all()
    assert (frames(spec, 12)[:2] == x[:2]).all()
