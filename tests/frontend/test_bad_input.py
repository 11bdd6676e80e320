"""Each kind of bad input has its own message: what, where, why, what to do."""

import re

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from hwgen.errors import HwgenError
from hwgen.frontend import explain, import_model, load_onnx

from .builder import Model


def conv(m: Model, x: str = "x", scale: float = 0.02, zero: int = 3) -> str:
    w = m.weights((3, 4, 3, 3))
    return m.op("Conv", m.dq(x, scale, zero), w, m.bias(w, scale))


def good() -> onnx.ModelProto:
    m = Model()
    return m.build((1, 4, 6, 6), m.q(conv(m)))


def refuses(model, message):
    with pytest.raises(HwgenError, match=re.compile("^" + message + "$", re.DOTALL)):
        import_model(model)


def initializer(model, kind, size=None):
    return next(t for t in model.graph.initializer if t.data_type == kind and (size is None or np.prod(t.dims) == size))


def test_files(tmp_path):
    def file(name, data):
        (tmp_path / name).write_bytes(data)
        return tmp_path / name

    whole = good().SerializeToString()
    at = re.escape(str(tmp_path))
    refuses(tmp_path / "absent.onnx", f"{at}/absent.onnx: no such file")
    refuses(tmp_path, f"{at}: is a folder, not an ONNX file")
    refuses(file("empty.onnx", b""), f"{at}/empty.onnx: the file is empty; export the model again")
    refuses(file("short.onnx", whole[:-20]), f"{at}/short.onnx: not an ONNX file, or a truncated one .*; export or copy .*")
    refuses(file("text.onnx", b"hello, this is no model"), f"{at}/text.onnx: not an ONNX file.*")
    refuses(file("zeros.onnx", bytes(100)), f"{at}/zeros.onnx: not an ONNX file.*")
    bare = onnx.ModelProto(ir_version=8).SerializeToString()
    refuses(file("bare.onnx", bare), f"{at}/bare.onnx: not an ONNX file, or one without operators; export the model again")
    assert import_model(file("good.onnx", whole)).nodes[0].name == "conv0"


def test_external_data(tmp_path):
    model = good()
    weights = initializer(model, TensorProto.INT8, 108)
    raw = numpy_helper.to_array(weights).tobytes()
    weights.ClearField("raw_data")
    weights.data_location = TensorProto.EXTERNAL

    def saved(**info):
        del weights.external_data[:]
        for key, value in info.items():
            weights.external_data.add(key=key, value=str(value))
        path = tmp_path / "inside" / "m.onnx"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(model.SerializeToString())
        return path

    (tmp_path / "w.bin").write_bytes(raw)
    where = f".*m.onnx: initializer {weights.name}: external data "
    refuses(saved(location="w.bin"), where + "'w.bin' is missing; copy that file to the model's folder")
    refuses(saved(location="../w.bin"), where + "'../w.bin' must lie beside the model, not elsewhere")
    refuses(saved(location=tmp_path / "w.bin"), where + ".* must lie beside the model, not elsewhere")
    refuses(saved(), where + "'' must lie beside the model, not elsewhere")
    (tmp_path / "inside" / "w.bin").write_bytes(b"12" + raw)
    refuses(saved(location="w.bin", offset="two"), where + "'w.bin' must have numbers as offset and length, not .*")
    refuses(saved(location="w.bin", offset=-1), where + "'w.bin' must have an offset and a length that are not negative, .*")
    refuses(saved(location="w.bin", offset=4), r".*must hold 108 values for its shape \[3, 4, 3, 3\], not 106")
    refuses(model, f"initializer {weights.name}: external data must be loaded first; use load_onnx on the file")
    graph = import_model(saved(location="w.bin", offset=2, length=108))
    assert graph.nodes[0].weights.astype(np.int8).tobytes() == raw


def test_interface():
    for axis, size, message in [
        (0, 4, "input x: the batch must be 1 or dynamic, not 4; export it for one frame"),
        (2, 0, r"input x: dimension 2 must be in 1\.\.16777216, not 0"),
        (2, -1, r"input x: dimension 2 must be in 1\.\.16777216, not -1"),
        (2, "height", r"input x: dimension 2 \(height\) is dynamic; export with a fixed size"),
    ]:
        model = good()
        dim = model.graph.input[0].type.tensor_type.shape.dim[axis]
        if isinstance(size, str):
            dim.dim_param = size
        else:
            dim.dim_value = size
        refuses(model, message)
    model = good()
    model.graph.input.add().CopyFrom(model.graph.input[0])
    model.graph.input[1].name = "y"
    refuses(model, r"the model must have one input, not 2 \(x, y\); export it with a single input")
    model = good()
    model.graph.output.add().name = model.graph.node[0].output[0]
    refuses(model, r"the model must have one output, not 2 \(.*\); export it with a single output")
    model = good()
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.FLOAT16
    refuses(model, "input x: must be float32, int8 or uint8, not float16")
    model = good()
    del model.graph.input[0].type.tensor_type.shape.dim[1:]
    refuses(model, "input x: must have 2 to 4 dimensions with the batch, not 1")
    model = good()
    model.graph.input[0].type.tensor_type.ClearField("shape")
    refuses(model, "input x: must be a tensor of known shape; export the model with a static input shape")


@pytest.mark.parametrize(
    "kind", [TensorProto.INT4, TensorProto.UINT4, TensorProto.FLOAT16, TensorProto.INT16, TensorProto.DOUBLE]
)
def test_types(kind):
    model = good()
    name = TensorProto.DataType.Name(kind).lower()
    weights = initializer(model, TensorProto.INT8, 108)
    weights.data_type = kind
    refuses(model, f"initializer {weights.name}: {name} is not supported; quantise to int8 or uint8")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_none(value):
    model = good()
    scale = initializer(model, TensorProto.FLOAT, 3)
    scale.raw_data = np.array([0.1, value, 0.1], np.float32).tobytes()
    refuses(model, f"initializer {scale.name}: holds NaN or infinite values; train or export the model again")


@pytest.mark.parametrize("value", [0.0, -0.5])
def test_scales_that_are_not_positive(value):
    model = good()
    scale = initializer(model, TensorProto.FLOAT, 3)
    scale.raw_data = np.array([0.1, value, 0.1], np.float32).tobytes()
    refuses(model, "DequantizeLinear .*: its scale must be positive; quantise the model again.*")
    model = good()
    scale = initializer(model, TensorProto.FLOAT, 1)
    scale.raw_data = np.float32(value).tobytes()
    refuses(model, f"DequantizeLinear .*: its scale must be positive, not {value}; quantise the model again")


def test_structure():
    model = good()
    model.graph.node[0].input[0] = "nothing"
    refuses(model, "DequantizeLinear .*: its input nothing is made by nothing; export the model again")
    model = good()
    model.graph.node[0].output[0] = model.graph.node[1].output[0]
    refuses(model, "tensor names must be unique, these are made twice: .*; export the model again")
    model = good()
    model.graph.node.append(helper.make_node("Relu", ["b"], ["a"], "first"))
    model.graph.node.append(helper.make_node("Relu", ["a"], ["b"], "second"))
    refuses(model, "operators form a cycle: first, second; export it again")
    model = good()
    nodes = list(model.graph.node)[::-1]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    assert import_model(model).nodes[0].name == "conv0"  # the order of a file does not matter
    model = good()
    model.graph.output[0].name = "nothing"
    refuses(model, "output nothing: is made by nothing; export the model again")
    model = good()
    model.graph.initializer.add(data_type=TensorProto.INT8, dims=[0], raw_data=b"")
    refuses(model, "tensors must have names; export the model again")
    model = good()
    model.graph.sparse_initializer.add()
    refuses(model, "sparse initializers are not supported; store dense weights")
    model = good()
    model.graph.node[-2].attribute.append(helper.make_attribute("pads", [0, 0, 1 << 40, 0]))
    refuses(model, r"Conv .*: attribute pads must be in ±16777216, not 1099511627776")
    model = good()
    model.graph.node[-2].attribute.append(helper.make_attribute("alpha", float("nan")))
    refuses(model, "Conv .*: attribute alpha must be finite")
    model = good()
    model.functions.add().name = "f"
    refuses(model, "local functions are not supported; .*")


def test_shapes_that_do_not_fit():
    m = Model()
    refuses(m.build((1, 5, 6, 6), m.q(conv(m))), "not a valid ONNX model: .*|Conv .*: weights .* must fit 5 input channels; .*")
    m = Model()
    w = m.weights((7, 12))
    refuses(m.build((1, 13), m.q(m.op("Gemm", m.dq("x"), w, transB=1))), "not a valid ONNX model: .*|Gemm .*")
    m = Model()
    w = m.weights((3, 4, 9, 9))
    refuses(m.build((1, 4, 6, 6), m.q(m.op("Conv", m.dq("x"), w))), "not a valid ONNX model: .*|Conv .*")


def test_float_model():
    m = Model()
    y = m.op("Conv", "x", m.const(np.ones((3, 4, 3, 3), np.float32)))
    model = m.build((1, 4, 6, 6), m.op("Erf", y), dtype=np.float32, out_dtype=np.float32)
    refuses(model, "Conv conv_0: float model: give --calibration SAMPLES.npz to quantise it")
    assert [(r.status, r.advice) for r in explain(model)] == [("supported", "give --calibration")] * 2


def pending(m):
    return m.q(m.op("Softmax", conv(m)))


def uint8_quant(m):
    return m.const(np.float32(1 / 256)), m.const(np.uint8(0))


def unsigned(m, x):
    return m.op("QuantizeLinear", x, *uint8_quant(m))


CASES = {
    "float between layers": (pending, "Softmax .*: its input is the float result of Conv .*, not quantised in between; put .*"),
    "product of activations": (
        lambda m: m.q(m.op("Mul", m.dq("x"), m.dq("x", 0.03))),
        "Mul .*: it combines two activations; .*",
    ),
    "constant of many numbers": (
        lambda m: m.q(m.op("Mul", m.dq("x"), m.const(np.ones((4, 1, 1), np.float32)))),
        "Mul .*: its constant k.* must be one number; .*",
    ),
    "broadcast": (
        lambda m: m.q(m.op("Add", m.dq("x"), m.dq(m.q(m.op("GlobalAveragePool", m.dq("x")), 0.02, 3)))),
        "Add .*: its inputs .* must be laid out alike; do not broadcast",
    ),
    "batch norm": (
        lambda m: m.q(m.op("BatchNormalization", m.dq("x"), *[m.const(np.ones(4, np.float32)) for _ in range(4)])),
        "BatchNormalization .* is not supported; fold it into the convolution before quantising .*",
    ),
    "softmax of rows": (
        lambda m: m.q(m.op("Softmax", m.dq("x"), axis=3)),
        r"Softmax .*: Softmax over axis 3 of \(1, 4, 6, 6\) is not supported: it is not that of the channels of a .*; "
        "use it over the channels, or over a vector at the output",
    ),
    "softmax of an image": (
        lambda m: m.q(m.op("Softmax", m.op("Flatten", m.dq(m.q(conv(m), 0.1, 5), 0.1, 5)))),
        r"Softmax .*: Softmax over axis -1 of \(1, .*\) is not supported: .*",
    ),
    "softmax to another type": (
        lambda m: m.q(m.op("DequantizeLinear", unsigned(m, m.op("Softmax", m.op("Flatten", m.dq("x")))), *uint8_quant(m))),
        "Softmax .*: its input and output must both be int8 or both be uint8, not int8 and uint8; quantise it as .*",
    ),
    "float result read twice": (
        lambda m: m.q(m.op("Add", m.dq(m.q(y := conv(m)), 0.1, 5), m.dq(m.q(y, 0.2, 1), 0.2, 1))),
        "Conv .*: its float result is read by .*; quantise it once, and dequantise for each reader",
    ),
    "undefined": (lambda m: m.q(m.op("Log", m.dq("x"))), "Log .*: it is undefined for some of its inputs; clip .*"),
    "alpha": (
        lambda m: m.q(m.op("Gemm", m.op("Flatten", m.dq("x")), m.weights((5, 144)), transB=1, alpha=2.0)),
        "Gemm .*: alpha must be 1.*, not 2.0; fold it into the weights before quantising",
    ),
    "wrong bias scale": (
        lambda m: m.q(m.op("Conv", m.dq("x"), w := m.weights((3, 4, 3, 3)), m.bias(w, 0.5))),
        "Conv .*: the scale of its bias must be input scale · weight scale; .*",
    ),
    "weights per row": (
        lambda m: m.q(m.op("Conv", m.dq("x"), m.weights((4, 4, 3, 3), 1))),
        r"Conv .*: its weights must be quantised per tensor or per output channel \(axis 0\); .*",
    ),
    "pads of channels": (
        lambda m: m.q(m.op("Pad", m.dq("x"), m.const(np.array([0, 1, 0, 0, 0, 0, 0, 0])))),
        "Pad .*: pads must be constant and of rows and columns only, not .*; pad height and width only",
    ),
    "reflection": (
        lambda m: m.q(m.op("Pad", m.dq("x"), m.const(np.array([0, 0, 1, 1, 0, 0, 1, 1])), mode="reflect")),
        "Pad .*: mode reflect is not supported; pad with a constant",
    ),
    "scrambled image": (
        lambda m: m.q(m.op("Conv", m.op("Transpose", m.dq(m.q(conv(m))), perm=[0, 1, 3, 2]), m.weights((2, 3, 1, 1)))),
        "Conv .*: its input of shape .* is a .* tensor .* in another order; avoid Reshape and Transpose between image layers",
    ),
    "ceil_mode": (
        lambda m: m.q(m.op("AveragePool", m.dq("x"), kernel_shape=[4, 4], strides=[3, 3], ceil_mode=1)),
        "AveragePool .*: ceil_mode adds windows that stick out; .*",
    ),
    "unquantised output": (conv, r"output conv_\d+:0: must be quantised; put QuantizeLinear behind the last layer"),
    "no operator": (lambda m: m.op("Identity", "x"), "output identity.*: must be quantised; .*"),
    "int16": (
        lambda m: m.op("QuantizeLinear", conv(m), m.const(np.float32(1)), m.const(np.int16(0))),
        "initializer k.*: int16 is not supported; quantise to int8 or uint8",
    ),
    "per channel activations": (
        lambda m: m.op("QuantizeLinear", conv(m), m.const(np.ones(3, np.float32)), m.const(np.zeros(3, np.int8)), axis=1),
        "QuantizeLinear .*: activations must have one scale and zero point; quantise activations per tensor",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_operators(name):
    m = Model()
    make, message = CASES[name]
    y = make(m)
    model = m.build((1, 4, 6, 6), y, out_dtype=np.float32 if name == "unquantised output" else None)
    refuses(model, message)


def test_unknown_operators_and_domains():
    m = Model()
    a = m.dq(m.q(m.op("Frobnicate", m.dq("x"))), 0.1, 5)
    b = m.op("Wobble", a, domain="org.example")
    c = m.op("DepthToSpace", m.dq(m.q(conv(m, m.q(b)))), blocksize=1)
    model = m.build((1, 4, 6, 6), m.q(c))
    rows = {r.op_type: r for r in explain(model) if r.status == "unsupported"}
    assert set(rows) == {"Frobnicate", "Wobble", "DepthToSpace"}
    assert rows["Wobble"].detail == "operators of the domain org.example are unknown"
    refuses(model, r"Frobnicate .*\(and 2 more\)\nWobble .*\nDepthToSpace .*")


def test_control_flow():
    m = Model()
    branch = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["same"])],
        "b",
        [],
        [helper.make_tensor_value_info("same", TensorProto.INT8, None)],
    )
    y = m.op("If", m.const(np.array(True)), then_branch=branch, else_branch=branch)
    model = m.build((1, 4, 6, 6), m.q(conv(m, y)))
    refuses(model, r"If .*: subgraphs \(If, Loop, Scan\) are not supported; export without control flow")


def test_explain_reports_what_is_rewritten():
    m = Model()
    r = m.op("Clip", conv(m), m.const(np.float32(0)), m.const(np.float32(1)))
    model = m.build((1, 4, 6, 6), m.q(r))
    rows = {r.op_type: (r.status, r.detail) for r in explain(model)}
    assert rows["Conv"] == ("rewritten", "quantised before Clip, so that it is computed in integers (conv0)")
    assert rows["Clip"] == ("supported", "conv0")


def test_load_returns_the_checked_model(tmp_path):
    good_model = good()
    (tmp_path / "m.onnx").write_bytes(good_model.SerializeToString())
    assert load_onnx(tmp_path / "m.onnx") == good_model
