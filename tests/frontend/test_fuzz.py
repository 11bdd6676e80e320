"""Damaged models give a graph or a HwgenError, never anything else."""

import contextlib
import random
import struct

import onnx
import pytest

from hwgen.errors import HwgenError
from hwgen.frontend import explain, import_model, load_onnx
from hwgen.graph import Graph

from ..shared_models import MODELS, needs_models

FILES = [
    "digits/digits_cnn_int8_qdq_asym_u8.onnx",
    "digits/digits_cnn_int8_qdq_sym_perch.onnx",
    "kws/kws_int8_qdq_tf2onnx.onnx",
]
pytestmark = needs_models
NUMBERS = [0, -1, 1, 2, 3, 7, 255, -128, 1 << 20, 1 << 31, 1 << 62, -(1 << 63)]


def survives(path):
    with contextlib.suppress(HwgenError):
        assert isinstance(import_model(path), Graph)


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("seed", range(4))
def test_bytes(file, seed, tmp_path):
    """Flipped, inserted and cut bytes: most of them in the structure, not in the weights."""
    original = (MODELS / file).read_bytes()
    rng = random.Random(seed)
    path = tmp_path / "m.onnx"
    for _ in range(25):
        data = bytearray(original)
        kind = rng.randrange(3)
        if kind == 0:
            data = data[: rng.randrange(len(data))]
        for _ in range(rng.choice([1, 1, 4, 30]) * (kind > 0)):
            at = rng.randrange(len(data))
            if kind == 1:
                data[at] ^= 1 << rng.randrange(8)
            else:
                data[at:at] = bytes(rng.randrange(256) for _ in range(rng.randrange(1, 4)))
        path.write_bytes(bytes(data))
        survives(path)


def mutate(model: onnx.ModelProto, rng: random.Random) -> None:
    """Change one field."""
    g = model.graph
    node = rng.choice(g.node)
    tensor = rng.choice(g.initializer)
    value = rng.choice([*g.input, *g.output])
    match rng.randrange(16):
        case 0 if tensor.dims:
            tensor.dims[rng.randrange(len(tensor.dims))] = rng.choice(NUMBERS)
        case 1:
            tensor.data_type = rng.randrange(0, 25)
        case 2:
            tensor.raw_data = bytes(rng.randrange(256) for _ in range(len(tensor.raw_data)))
        case 3:
            scalar = rng.choice([t for t in g.initializer if t.data_type == 1])
            scale = rng.choice([0.0, -1.0, 1e-45, 3e38, float("nan"), float("inf"), 1e-30, 1.0])
            scalar.raw_data = struct.pack("<f", scale) * (len(scalar.raw_data) // 4)
        case 4 if node.attribute:
            a = rng.choice(node.attribute)
            if a.ints:
                a.ints[rng.randrange(len(a.ints))] = rng.choice(NUMBERS)
            a.i = rng.choice(NUMBERS)
        case 5 if node.attribute:
            a = rng.choice(node.attribute)
            a.name = rng.choice(["pads", "axis", "group", "auto_pad", "ceil_mode", "perm", "x"])
        case 6 if node.attribute:
            rng.choice(node.attribute).type = rng.randrange(0, 12)
        case 7 if node.attribute:
            del node.attribute[rng.randrange(len(node.attribute))]
        case 8 if node.input:
            node.input[rng.randrange(len(node.input))] = rng.choice([o for n in g.node for o in n.output] + ["", "nothing"])
        case 9:
            node.output[0] = rng.choice(["", "again", g.node[0].output[0]])
        case 10:
            operators = ["Add", "Concat", "Flatten", "LSTM", "MaxPool", "Mul", "Nothing", "Pad", "Relu", "Softmax", "Transpose"]
            node.op_type = rng.choice([*operators, "AveragePool", "ArgMax", "Clip", "Conv", "Gemm", "MatMul", "Reshape", "If"])
        case 11:
            node.domain = rng.choice(["com.microsoft", "ai.onnx.ml", "nobody"])
        case 12 if value.type.tensor_type.shape.dim:
            dim = rng.choice(value.type.tensor_type.shape.dim)
            dim.dim_value = rng.choice(NUMBERS)
        case 13:
            value.type.tensor_type.elem_type = rng.randrange(0, 25)
        case 14:
            del g.node[rng.randrange(len(g.node))]
        case _:
            model.opset_import[0].version = rng.choice([1, 6, 9, 11, 13, 18, 21, 24, 99, -3])


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("seed", range(6))
def test_fields(file, seed, tmp_path):
    original = onnx.load(MODELS / file)
    rng = random.Random(seed)
    for k in range(25):
        model = onnx.ModelProto()
        model.CopyFrom(original)
        for _ in range(rng.choice([1, 1, 2, 3])):
            mutate(model, rng)
        path = tmp_path / f"m{k}.onnx"
        path.write_bytes(model.SerializeToString())
        survives(path)
        with contextlib.suppress(HwgenError):
            assert len(explain(load_onnx(path))) == len(model.graph.node)
