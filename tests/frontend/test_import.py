"""Imported graphs, computed in plain NumPy, equal ONNX Runtime in every tensor."""

import numpy as np
import pytest

from hwgen import graph as g
from hwgen.frontend import explain, import_model, load_onnx, reference_model
from hwgen.inputs import dequantise, make_frames
from hwgen.oracle import Oracle

from ..random_networks import random_network
from ..shared_models import MODELS, needs_models
from .builder import Model, compute

QUANTISED = ["ad/ad_int8_qdq", "ic/ic_int8_qdq", "kws/kws_int8_qdq", "vww/vww_int8_qdq"]
DTYPES = (np.int8, np.uint8)


def compare(model, frames, exact=None):
    """Import ``model``; every aliased tensor and the output must equal ONNX Runtime's (``exact``: run this model instead)."""
    graph = import_model(model)
    integers = make_frames(graph, frames).hardware
    got = compute(graph, integers)
    aliases = {a.name: (t, a.layout) for t in graph.tensors.values() for a in t.aliases if t.name != graph.input}
    reference = Oracle(exact or reference_model(model)).run(frames, tuple(aliases))
    for name, (tensor, layout) in aliases.items():
        wanted = reference[name].reshape(len(frames), *layout.shape[1:])
        wrong = int((layout.to_onnx(got[tensor.name]) != wanted).sum())
        assert wrong == 0, f"{name} ({tensor.name}): {wrong} of {wanted.size} differ"
    out, host = got[graph.output], graph.host_output
    if host.dtype == "float32":
        out = dequantise(out, graph.tensors[graph.output].type)
    wanted = reference[host.name]
    assert host.dtype == str(wanted.dtype)
    assert (host.layout.to_onnx(out).ravel() == wanted.ravel()).all()
    return graph


def frames_for(model, n=16, seed=0):
    value = model.graph.input[0].type.tensor_type
    shape = [d.dim_value or 1 for d in value.shape.dim][1:]
    rng = np.random.default_rng(seed)
    if value.elem_type == 1:
        return rng.normal(0, 1, (n, *shape)).astype(np.float32)
    info = np.iinfo(np.int8 if value.elem_type == 3 else np.uint8)
    frames = rng.integers(info.min, info.max + 1, (n, *shape)).astype(info.dtype)
    frames[0], frames[1] = info.min, info.max
    return frames


def same(model, **kwargs):
    return compare(model, frames_for(model), **kwargs)


@needs_models
@pytest.mark.parametrize("name", QUANTISED)
def test_real_networks(name):
    model = load_onnx(MODELS / f"{name}_nchw.onnx")
    samples = np.load(MODELS / name.split("/")[0] / "samples.npz")
    frames = samples["inputs"][: 2 if name.startswith("vww") else 8]
    compare(model, frames, exact=model)


@needs_models
@pytest.mark.parametrize("name", QUANTISED)
def test_tf2onnx_imports_to_the_same_numbers(name):
    a, b = (import_model(MODELS / f"{name}_{kind}.onnx") for kind in ("nchw", "tf2onnx"))
    assert [(n.name, n.inputs) for n in a.nodes] == [(n.name, n.inputs) for n in b.nodes]
    assert {k: (t.shape, t.type) for k, t in a.tensors.items()} == {k: (t.shape, t.type) for k, t in b.tensors.items()}
    for x, y in zip(a.nodes, b.nodes, strict=True):
        for field in ("weights", "bias", "scale", "pads"):
            assert np.array_equal(getattr(x, field, 0), getattr(y, field, 0)), (x.name, field)
    rng = np.random.default_rng(0)
    image = rng.integers(-128, 128, (3, *a.tensors["input"].shape))
    assert (b.host_input.layout.from_onnx(b.host_input.layout.to_onnx(image), image.shape[1:]) == image).all()
    if b.host_input.layout.shape[-1] == 3:
        assert (b.host_input.layout.to_onnx(image) == image).all()


@needs_models
@pytest.mark.parametrize("kind", ["asym_u8", "sym_perch"])
def test_digits(kind):
    model = load_onnx(MODELS / "digits" / f"digits_cnn_int8_qdq_{kind}.onnx")
    graph = compare(model, np.load(MODELS / "digits" / "samples.npz")["inputs"][:100], exact=model)
    assert [n.name for n in graph.nodes] == ["conv0", "conv1", "maxpool0", "conv2", "dense0"]
    assert (graph.host_input.dtype, graph.host_output.dtype) == ("float32", "float32")


CONVS = {
    "plain": ((6, 4, 3, 3), {}),
    "pads": ((6, 4, 3, 3), {"pads": [2, 0, 1, 1]}),
    "strides": ((5, 4, 4, 2), {"strides": [2, 3], "pads": [1, 1, 2, 0]}),
    "dilations": ((5, 4, 3, 2), {"dilations": [2, 3], "pads": [2, 2, 2, 2]}),
    "depthwise": ((4, 1, 3, 3), {"group": 4, "pads": [1, 1, 1, 1]}),
    "multiplier": ((8, 1, 3, 3), {"group": 4}),
    "grouped": ((6, 2, 3, 3), {"group": 2}),
    "same_upper": ((6, 4, 4, 3), {"auto_pad": "SAME_UPPER", "strides": [2, 2]}),
    "same_lower": ((6, 4, 4, 3), {"auto_pad": "SAME_LOWER", "strides": [2, 2]}),
    "valid": ((6, 4, 3, 3), {"auto_pad": "VALID"}),
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", CONVS)
def test_convolutions(name, dtype):
    shape, attributes = CONVS[name]
    m = Model(dtype)
    w = m.weights(shape)
    y = m.q(m.op("Conv", m.dq("x"), w, m.bias(w), **attributes))
    graph = same(m.build((1, 4, 9, 11), y))
    assert graph.nodes[0].depthwise == (name == "depthwise")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("w_dtype", "zero"), [(np.int8, 0), (np.int8, 7), (np.uint8, 0), (np.uint8, 131)])
@pytest.mark.parametrize("axis", [None, 0])
def test_weight_types(dtype, w_dtype, zero, axis):
    m = Model(dtype)
    w = m.weights((5, 4, 3, 3), axis, w_dtype, zero)
    m1 = m.q(m.op("Conv", m.dq("x"), w, m.bias(w)), 0.3)
    w2 = m.weights((5 * 7 * 7, 6), None if axis is None else 1, w_dtype, zero)
    y = m.q(m.op("Gemm", m.op("Flatten", m.dq(m1, 0.3, 5)), w2, m.bias(w2, 0.3) if axis == 0 else ""), 1.5)
    same(m.build((1, 4, 9, 9), y))


@pytest.mark.parametrize("dtype", DTYPES)
def test_conv1d_and_pools(dtype):
    m = Model(dtype)
    w = m.weights((6, 4, 5))
    a = m.q(m.op("Conv", m.dq("x"), w, m.bias(w), strides=[2], pads=[1, 2], kernel_shape=[5]), 0.2)
    b = m.q(m.op("MaxPool", m.dq(a, 0.2, 5), kernel_shape=[2], strides=[2]), 0.2)
    c = m.q(m.op("GlobalAveragePool", m.dq(b, 0.2, 5)), 0.15)
    graph = same(m.build((1, 4, 21), c))
    assert graph.tensors["input"].shape == (1, 21, 4)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("low", [True, False])
@pytest.mark.parametrize("act", ["Relu", "Clip", "Relu6", "MaxPool"])
@pytest.mark.parametrize("kind", ["Conv", "Gemm", "MatMul", "Add"])
def test_activation_behind_a_sum(dtype, low, act, kind):
    """Also where ONNX Runtime would leave the file's layer in float: the reference model has it in integers."""
    m = Model(dtype)
    zero = int(np.iinfo(dtype).min) if low else 40
    shape, x = ((1, 4, 6, 6) if kind in ("Conv", "Add") else (1, 32)), m.dq("x")
    if kind == "Conv":
        w = m.weights((6, 4, 3, 3))
        r = m.op("Conv", x, w, m.bias(w))
    elif kind == "Gemm":
        w = m.weights((7, 32))
        r = m.op("Gemm", x, w, m.bias(w), transB=1)
    elif kind == "MatMul":
        w = m.weights((32, 7), None)
        bias = m.op("DequantizeLinear", m.const(np.arange(7, dtype=np.int32)), m.const(np.float32(0.02) * np.float32(0.01)))
        r = m.op("Add", bias, m.op("MatMul", x, w))
    else:
        r = m.op("Add", x, m.dq(m.q(m.op("Sigmoid", x), 0.01, 0), 0.01, 0))
    match act:
        case "Relu":
            r = m.op("Relu", r)
        case "Clip":
            r = m.op("Clip", r, m.const(np.float32(-0.3)), m.const(np.float32(1.234)))
        case "Relu6":
            r = m.op("Clip", m.op("Relu", r), m.const(np.float32(0)), m.const(np.float32(6)))
        case "MaxPool" if len(shape) == 4:
            r = m.op("MaxPool", m.op("Relu", r), kernel_shape=[2, 2])
    graph = same(m.build(shape, m.q(r, 0.05, zero)))
    assert len(graph.nodes) == 1 + (kind == "Add") + (act == "MaxPool" and len(shape) == 4)  # clamps are folded


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("pool", [
    ("MaxPool", {"kernel_shape": [3, 2], "strides": [2, 2], "pads": [1, 0, 1, 1]}),
    ("MaxPool", {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1}),
    ("MaxPool", {"kernel_shape": [2, 2], "dilations": [2, 2]}),
    ("AveragePool", {"kernel_shape": [2, 2], "strides": [2, 2]}),
    ("AveragePool", {"kernel_shape": [3, 3], "pads": [1, 1, 0, 1]}),
    ("AveragePool", {"kernel_shape": [3, 3], "pads": [1, 1, 0, 1], "count_include_pad": 1}),
    ("AveragePool", {"kernel_shape": [7, 8]}),
    ("GlobalAveragePool", {}),
    ("ReduceMean", {"axes": [2, 3], "keepdims": 0}),
    ("ReduceMean", {"axes": [-1, -2], "keepdims": 1}),
])  # fmt: skip
@pytest.mark.parametrize("scale", [0.02, 0.013])
def test_pools(dtype, pool, scale):
    m = Model(dtype)
    same(m.build((1, 5, 7, 8), m.q(m.op(pool[0], m.dq("x"), **pool[1]), scale, 3)))


FUNCTIONS = {
    "Relu": {}, "Sigmoid": {}, "Tanh": {}, "LeakyRelu": {"alpha": 0.07}, "HardSwish": {}, "HardSigmoid": {}, "Elu": {},
    "Softplus": {}, "Selu": {}, "Erf": {}, "Abs": {},
}  # fmt: skip


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_are_tables(name, dtype):
    m = Model(dtype)
    graph = same(m.build((1, 3, 10, 10), m.q(m.op(name, m.dq("x"), **FUNCTIONS[name]), 0.01, 20)))
    assert [(n.name, n.function) for n in graph.nodes] == [("table0", name)]


@pytest.mark.parametrize("dtype", DTYPES)
def test_functions_of_several_operators(dtype):
    m = Model(dtype)
    x = m.dq("x", 0.05)
    silu = m.q(m.op("Mul", x, m.op("Sigmoid", x)), 0.03, 0)
    y = m.op("Add", m.op("Mul", m.dq(silu, 0.03, 0), m.const(np.float32(1.7))), m.const(np.float32([0.3])))
    scaled = m.q(m.op("Clip", y, m.const(np.float32(-1)), m.const(np.float32(2))), 0.03, 0)
    graph = same(m.build((1, 3, 10, 10), scaled))
    assert [n.function for n in graph.nodes] == ["Sigmoid Mul", "Mul Add Clip"]


@pytest.mark.parametrize("dtype", DTYPES)
def test_concat_pad_requantise(dtype):
    m = Model(dtype)
    x = m.dq("x")
    w = m.weights((3, 4, 3, 3))
    padded = m.op("Pad", x, m.const(np.array([0, 0, 1, 1, 0, 0, 1, 1])))
    a = m.q(m.op("Conv", padded, w, m.bias(w)), 0.3)
    joined = m.q(m.op("Concat", x, m.dq(a, 0.3, 5), x, axis=1), 0.25, 7)
    z = m.q(m.op("Pad", m.dq(joined, 0.25, 7), m.const(np.array([0, 0, 1, 0, 0, 0, 0, 2])), m.const(np.float32(1.5))), 0.25, 7)
    y = m.q(m.dq(z, 0.25, 7), 0.2, 9)
    graph = same(m.build((1, 4, 6, 5), y))
    assert [type(n) for n in graph.nodes] == [g.Conv, g.Table, g.Table, g.Table, g.Concat, g.Pad, g.Table]
    assert graph.nodes[0].pads == (1, 1, 1, 1)


@pytest.mark.parametrize("dtype", DTYPES)
def test_pad_of_an_average(dtype):
    m = Model(dtype)
    padded = m.q(m.op("Pad", m.dq("x"), m.const(np.array([0, 0, 1, 1, 0, 0, 1, 1]))), 0.02, 3)
    graph = same(m.build((1, 4, 6, 6), m.q(m.op("AveragePool", m.dq(padded), kernel_shape=[2, 2]))))
    assert [n.count_include_pad for n in graph.nodes] == [True]


def test_layouts_and_dense_columns():
    m = Model()
    x = m.dq("x")
    w = m.weights((6, 4, 3, 3))
    a = m.dq(m.q(m.op("Conv", x, w, m.bias(w)), 0.3), 0.3, 5)
    flat = m.op("Reshape", m.op("Transpose", a, perm=[0, 3, 1, 2]), m.const(np.array([0, -1])))
    w2 = m.weights((6 * 4 * 5, 9), 1)
    b = m.dq(m.q(m.op("Gemm", flat, w2, m.bias(w2, 0.3)), 2.0, 0), 2.0, 0)
    image = m.op("Unsqueeze", m.op("Unsqueeze", b, m.const(np.array([2]))), m.const(np.array([3])))
    w3 = m.weights((4, 9, 1, 1))
    c = m.q(m.op("Squeeze", m.op("Conv", image, w3), m.const(np.array([2, 3]))), 9.0, 0)
    out = m.op("Identity", c)
    same(m.build((1, 4, 6, 7), out))


def test_reshaped_input_of_a_convolution():
    m = Model()
    w = m.weights((6, 4, 3, 3))
    image = m.op("Reshape", m.dq("x"), m.const(np.array([-1, 4, 6, 5])))
    graph = same(m.build(("n", 120), m.q(m.op("Conv", image, w, m.bias(w)), 0.3)))
    assert graph.tensors["input"].shape == (6, 5, 4)
    assert graph.host_input.layout == g.Layout(axes=(2, 0, 1), shape=(1, 120))


def test_weights_transposed_in_the_model_and_shape_arithmetic():
    m = Model()
    w = m.op("Transpose", m.weights((9, 60), 0), perm=[1, 0])
    batch = m.op("Gather", m.op("Shape", "x"), m.const(np.array([0])))
    shape = m.op("Concat", batch, m.const(np.array([-1])), axis=0)
    y = m.q(m.op("MatMul", m.dq(m.op("Reshape", "x", shape)), w), 0.3)
    same(m.build(("n", 3, 4, 5), y))


@pytest.mark.parametrize("keepdims", [0, 1])
@pytest.mark.parametrize("last", [0, 1])
def test_argmax(keepdims, last):
    m = Model()
    y = m.op("ArgMax", m.dq("x"), axis=-1, keepdims=keepdims, select_last_index=last)
    model = m.build((1, 10), y, out_dtype=np.int64)
    frames = np.random.default_rng(0).integers(0, 4, (50, 10)).astype(np.int8)
    assert compare(model, frames).host_output.dtype == "int64"


def test_float_input_and_output():
    m = Model()
    w = m.weights((3, 4, 3, 3))
    image = m.op("Transpose", "x", perm=[0, 3, 1, 2])
    y = m.dq(m.q(m.op("Conv", m.dq(m.q(image, 0.02, 3)), w), 0.3), 0.3, 5)
    graph = same(m.build((1, 6, 5, 4), m.op("Flatten", y), dtype=np.float32, out_dtype=np.float32))
    assert graph.host_input.layout.axes == (0, 1, 2)
    assert graph.host_output.layout == g.Layout(axes=(2, 0, 1), shape=(1, 36))


@pytest.mark.parametrize("dtype", DTYPES)
def test_float_biases(dtype):
    m = Model(dtype)
    b = m.const(np.random.default_rng(0).normal(0, 1, 6).astype(np.float32))
    y = m.q(m.op("Conv", m.dq("x"), m.weights((6, 4, 3, 3)), b))
    model = m.build((1, 4, 6, 6), y)
    same(model)
    same(model, exact=model)  # ONNX Runtime rounds it in the same way


@pytest.mark.parametrize("dtype", DTYPES)
def test_qoperator(dtype):
    m = Model(dtype, opset=13)
    k = lambda v, t=np.float32: m.const(t(v))  # noqa: E731
    rng = np.random.default_rng(3)
    w = m.const(rng.integers(-127, 128, (6, 4, 3, 3)).astype(np.int8))
    ws, wz = m.const(rng.uniform(0.004, 0.02, 6).astype(np.float32)), m.const(np.zeros(6, np.int8))
    b = m.const(rng.integers(-3000, 3000, 6).astype(np.int32))
    a = m.op("QLinearConv", "x", k(0.02), k(3, dtype), w, ws, wz, k(0.2), k(5, dtype), b, pads=[1, 1, 1, 1])
    s = m.op("QLinearSigmoid", a, k(0.2), k(5, dtype), k(0.004), k(1, dtype), domain="com.microsoft")
    t = m.op("QLinearLeakyRelu", a, k(0.2), k(5, dtype), k(0.1), k(1, dtype), domain="com.microsoft", alpha=0.1)
    c = m.op("QLinearAdd", s, k(0.004), k(1, dtype), t, k(0.1), k(1, dtype), k(0.11), k(4, dtype), domain="com.microsoft")
    d = m.op(
        "QLinearConcat", k(0.1), k(9, dtype), c, k(0.11), k(4, dtype), a, k(0.2), k(5, dtype), axis=1, domain="com.microsoft"
    )
    p = m.op("MaxPool", d, kernel_shape=[2, 2], strides=[2, 2])
    e = m.op("QLinearAveragePool", p, k(0.1), k(9, dtype), k(0.09), k(9, dtype), kernel_shape=[2, 2], domain="com.microsoft")
    v = m.op("QLinearGlobalAveragePool", e, k(0.09), k(9, dtype), k(0.05), k(9, dtype), domain="com.microsoft")
    v = m.op("Flatten", v)
    gw = m.const(rng.integers(-127, 128, (12, 7)).astype(np.int8))
    gb = m.const(rng.integers(-300, 300, 7).astype(np.int32))
    q = m.op("QGemm", v, k(0.05), k(9, dtype), gw, k(0.01), k(0, np.int8), gb, k(0.1), k(2, dtype), domain="com.microsoft")
    mw = m.const(rng.integers(-127, 128, (7, 5)).astype(np.int8))
    r = m.op("QLinearMatMul", q, k(0.1), k(2, dtype), mw, k(0.01), k(0, np.int8), k(0.3), k(7, dtype))
    zero = int(np.iinfo(dtype).min)
    y = m.op("QLinearSoftmax", r, k(0.3), k(7, dtype), k(1 / 256), k(zero, dtype), domain="com.microsoft", opset=13, axis=-1)
    model = m.build((1, 4, 8, 8), y)
    graph = same(model, exact=model)
    assert graph.nodes[-1].name == "softmax0"
    assert {r.status for r in explain(model)} == {"supported", "rewritten"}


def test_one_tensor_quantised_twice_alike_is_one_tensor():
    m = Model()
    w = m.weights((4, 4, 3, 3))
    r = m.op("Conv", m.dq("x"), w, pads=[1, 1, 1, 1])
    y = m.op("Add", m.dq(m.q(r), 0.1, 5), m.dq(m.q(r), 0.1, 5))
    graph = same(m.build((1, 4, 6, 6), m.q(y)))
    assert [len(t.aliases) for t in graph.tensors.values()] == [0, 1, 1]


def test_another_scale_is_a_table():
    m = Model()
    y = m.op("Add", m.dq("x"), m.dq("x", 0.03, 4))
    graph = same(m.build((1, 4, 6, 6), m.q(y)))
    assert [n.name for n in graph.nodes] == ["reinterpret0", "add0"]


def test_reference_model_is_a_fixed_point():
    m = Model()
    w = m.weights((6, 4, 3, 3), None, np.uint8, 3)
    r = m.op("Relu", m.op("Conv", m.dq("x"), w, m.const(np.ones(6, np.float32))))
    model = m.build((1, 4, 6, 6), m.q(m.op("MaxPool", r, kernel_shape=[2, 2])))
    once = reference_model(model)
    assert reference_model(once) == once
    assert import_model(once).nodes[0].hi == import_model(model).nodes[0].hi


@pytest.mark.parametrize("seed", range(30))
def test_random_networks(seed):
    model, frames = random_network(np.random.default_rng(seed))
    compare(model, frames)
