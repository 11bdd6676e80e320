import dataclasses
import re

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from hwgen.arith import IntType
from hwgen.errors import HwgenError
from hwgen.graph import QuantType
from hwgen.templates.average import average
from hwgen.templates.window import WindowParams
from hwgen.testing import STALLS, run_streams

from .contract import check_arrivals, check_limits, check_timing

INT8 = IntType(8)
UINT8 = IntType(8, False)


def quant(integer, scale, zero_point):
    return QuantType(integer=integer, scale=float(np.float32(scale)), zero_point=zero_point)


def pool(source, result, kernel, pads=(0, 0, 0, 0), strides=(1, 1), include=False, hw=(2, 3), channels=2, lanes=2):
    """The pooling's params and tables, and the window before it."""
    geometry = {"height": hw[0], "width": hw[1], "channels": channels, "lanes": lanes, "kernel": kernel, "pads": pads}
    params, tables = average(source, result, **geometry, strides=strides, count_include_pad=include)
    more = {"strides": strides, "groups": channels // lanes, "pad_value": source.zero_point}
    return params, tables, WindowParams(element=source.integer, **geometry, **more)


def onnx_runtime(x, source, result, kernel, pads, strides, include):
    """(frames, H, W, C) through DequantizeLinear, AveragePool, QuantizeLinear."""
    dtype, onnx_type = (np.int8, TensorProto.INT8) if source.integer.signed else (np.uint8, TensorProto.UINT8)
    constants = {"sx": np.float32(source.scale), "zx": dtype(source.zero_point)}
    constants |= {"sy": np.float32(result.scale), "zy": dtype(result.zero_point)}
    nodes = [
        helper.make_node("DequantizeLinear", ["x", "sx", "zx"], ["a"]),
        helper.make_node(
            "AveragePool", ["a"], ["b"], kernel_shape=kernel, strides=strides, pads=pads, count_include_pad=int(include)
        ),
        helper.make_node("QuantizeLinear", ["b", "sy", "zy"], ["y"]),
    ]
    x = x.transpose(0, 3, 1, 2).astype(dtype)
    graph = helper.make_graph(
        nodes,
        "average",
        [helper.make_tensor_value_info("x", onnx_type, x.shape)],
        [helper.make_tensor_value_info("y", onnx_type, None)],
        [numpy_helper.from_array(np.array(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.qdqisint8allowed", "1")
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x})[0].transpose(0, 2, 3, 1).astype(np.int64)


def random_case(seed):
    rng = np.random.default_rng(seed)
    integer = (INT8, UINT8)[seed % 2]
    scale = rng.choice([0.05, 0.0235294, 1 / 128, rng.uniform(0.001, 3)])
    zeros = rng.integers(integer.min, integer.max + 1, 2).tolist()
    source = quant(integer, scale, zeros[0])
    result = quant(integer, scale * (1, rng.uniform(0.4, 1.3))[seed // 2 % 2], zeros[seed // 4 % 2])
    kernel = tuple(rng.integers(1, 5, 2).tolist())
    pads = tuple(rng.integers(0, kernel * 2).tolist())
    return rng, source, result, kernel, pads, tuple(rng.integers(1, 3, 2).tolist()), bool(seed // 8 % 2)


@pytest.mark.parametrize("seed", range(48))
def test_is_onnx_runtime(seed):
    rng, source, result, kernel, pads, strides, include = random_case(seed)
    params, tables, window = pool(source, result, kernel, pads, strides, include, hw=(8, 7), channels=8, lanes=4)
    x = rng.integers(source.integer.min, source.integer.max + 1, (60, 8, 7, 8))
    expected = onnx_runtime(x, source, result, kernel, pads, strides, include)
    assert (params.compute(window.compute(x.reshape(-1, 4)), tables).reshape(expected.shape) == expected).all()


@pytest.mark.parametrize(("kernel", "pads"), [((4, 6), (0, 0, 0, 0)), ((6, 8), (1, 1, 1, 1)), ((4, 5), (0, 0, 0, 0))])
@pytest.mark.parametrize("seed", range(6))
def test_whole_image_is_onnx_runtime(seed, kernel, pads):
    rng, source, result, *_ = random_case(seed)
    params, tables, window = pool(source, result, kernel, pads, hw=(4, 6), channels=8, lanes=8)
    x = rng.integers(source.integer.min, source.integer.max + 1, (300, 4, 6, 8))
    expected = onnx_runtime(x, source, result, kernel, pads, (1, 1), False)
    assert (params.compute(window.compute(x.reshape(-1, 8)), tables).reshape(expected.shape) == expected).all()


ROUNDED = pool(quant(INT8, 0.05, -7), quant(INT8, 0.05, 20), (2, 2))
CASES = {
    "rounded": ROUNDED,
    "borders": pool(
        quant(UINT8, 0.0235294, 130), quant(UINT8, 0.0235294, 99), (3, 2), (1, 1, 1, 0), channels=2, hw=(2, 2), lanes=1
    ),
    "single": pool(quant(INT8, 0.05, -7), quant(INT8, 0.05, 20), (1, 2), hw=(1, 3), channels=1, lanes=1),
    "integers": pool(quant(INT8, 0.0235294, 5), quant(INT8, 0.0191, 20), (3, 3), (1, 1, 1, 1), (2, 2), hw=(3, 4)),
    "power of two": pool(quant(UINT8, 0.25, 5), quant(UINT8, 0.25, 5), (1, 2), channels=1, lanes=1),
    "one tap, rounded": (dataclasses.replace(ROUNDED[0], words=1), ROUNDED[1], None),
    "long": pool(quant(INT8, 0.05, -100), quant(INT8, 0.05, -100), (3, 4), hw=(3, 5), channels=1, lanes=1),
}


@pytest.fixture(params=CASES.values(), ids=CASES.keys())
def case(request):
    return request.param[:2]


def test_both_forms():
    assert [params.rounded for params, _, _ in CASES.values()] == [True, True, True, False, False, True, True]


@pytest.mark.parametrize(("i_pause", "o_pause"), [(STALLS[0], STALLS[1]), (STALLS[2], STALLS[0]), (STALLS[1], (0, *(1,) * 40))])
def test_hardware_is_reference(case, i_pause, o_pause):
    params, tables = case
    rng = np.random.default_rng(3)
    words = rng.integers(params.input.min, params.input.max + 1, (3 * params.inputs[0].words, params.lanes))
    words[: 2 * params.words] = params.input.min
    words[-2 * params.words :] = params.input.max
    expected = params.compute(words, tables)
    run = run_streams(params, [words], [len(expected)], contents=tables, i_pause=i_pause, o_pause=o_pause)
    assert (run.outputs[0] == expected).all()


def test_timing(case):
    check_timing(*case)


@pytest.mark.parametrize("name", ["borders", "integers"])
def test_arrivals(name):
    check_arrivals(*CASES[name][:2])


@pytest.mark.parametrize("name", ["single", "power of two"])
def test_limits(name):
    check_limits(*CASES[name][:2])


def test_errors():
    alone = r"a window lies in the padding alone \(kernel \(1, 2\), pads \(0, 2, 0, 0\)\)"
    with pytest.raises(HwgenError, match=f"^average pooling: {alone}$"):
        pool(quant(INT8, 0.1, 0), quant(INT8, 0.1, 0), (1, 2), (0, 2, 0, 0))
    with pytest.raises(HwgenError, match=r"^average pooling: scales 7\.\d*e-31 and 1\.0 leave float32's range$"):
        pool(QuantType(integer=INT8, scale=float(np.float32(2.0**-100)), zero_point=0), quant(INT8, 1, 0), (2, 2))
    with pytest.raises(ValueError, match=r"^lanes must divide the 2 channels, not 3$"):
        pool(quant(INT8, 0.1, 0), quant(INT8, 0.1, 0), (2, 2), lanes=3)
    params, tables, _ = ROUNDED
    for change, message in (
        ({"words": 0}, "words must be positive, not 0"),
        ({"row_sets": ()}, "row_sets must be numbers that are not negative, not ()"),
        ({"total": UINT8}, "total must be signed, not uint8"),
    ):
        with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
            dataclasses.replace(params, **change)
    with pytest.raises(ValueError, match=r"^values must have shape \(256,\), not \(3,\)$"):
        params.create(dataclasses.replace(tables, values=tables.values[:3]))
    with pytest.raises(ValueError, match=r"^thresholds must have shape \(1, 255\), not \(2, 255\)$"):
        params.create(dataclasses.replace(tables, thresholds=np.zeros((2, 255), np.int64)))
