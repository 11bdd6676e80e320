import numpy as np
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from hwgen.arith import IntType
from hwgen.errors import HwgenError
from hwgen.graph import QuantType
from hwgen.templates.softmax import SoftmaxContents, SoftmaxParams, softmax_params
from hwgen.testing import NO_STALL, STALLS, run_streams
from tests.templates.contract import check_arrivals, check_limits, check_timing

INT8, UINT8 = IntType(8), IntType(8, False)


def quant(integer, scale, zero_point):
    return QuantType(integer=integer, scale=float(np.float32(scale)), zero_point=zero_point)


def built(integer=INT8, in_scale=0.125, out_scale=1 / 256, zero_point=None, channels=5, vectors=1):
    zero_point = integer.min if zero_point is None else zero_point
    return softmax_params(quant(integer, in_scale, 3), quant(integer, out_scale, zero_point), channels, vectors)


def vectors_of(integer, channels, count, spread, seed=0):
    """Vectors around random levels, and the extremes: all least, all greatest, one greatest."""
    rng = np.random.default_rng(seed)
    x = np.rint(rng.normal(rng.integers(integer.min, integer.max, (count, 1)), spread, (count, channels)))
    x[0], x[1], x[2], x[2, -1] = integer.min, integer.max, integer.min, integer.max
    return np.clip(x, integer.min, integer.max).astype(np.int64).reshape(-1, 1)


def onnx_session(input_type, output_type, channels, rows, opset):
    """ONNX Runtime in the reference mode; it must choose its integer operator, which it then runs."""
    names = {INT8: (TensorProto.INT8, np.int8), UINT8: (TensorProto.UINT8, np.uint8)}
    constants = []
    for name, q in ("x", input_type), ("y", output_type):
        constants.append(numpy_helper.from_array(np.float32(q.scale), f"{name}_scale"))
        constants.append(numpy_helper.from_array(names[q.integer][1](q.zero_point), f"{name}_zero"))
    nodes = [
        helper.make_node("DequantizeLinear", ["x", "x_scale", "x_zero"], ["real"]),
        helper.make_node("Softmax", ["real"], ["shares"], axis=1),
        helper.make_node("QuantizeLinear", ["shares", "y_scale", "y_zero"], ["y"]),
    ]
    ends = [helper.make_tensor_value_info(n, names[input_type.integer][0], [rows, channels]) for n in "xy"]
    graph = helper.make_graph(nodes, "softmax", ends[:1], ends[1:], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    options = ort.SessionOptions()
    options.add_session_config_entry("session.qdqisint8allowed", "1")
    options.intra_op_num_threads = 1
    return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("seed", range(30))
def test_compute_is_onnx_runtime(seed):
    rng = np.random.default_rng(seed)
    integer = (INT8, UINT8)[seed % 2]
    channels = int(rng.choice([1, 2, 3, 10, 12, 100, 1000]))
    in_scale = rng.choice([2.0 ** rng.integers(-10, 5), np.exp(rng.uniform(-12, 5))])
    out_scale = rng.choice([1 / 256, 1 / 255, 1 / 128, rng.uniform(0.0035, 0.1), 1.5])
    out_scale = max(out_scale, 0.007) if channels == 1 else out_scale  # else ONNX Runtime's floats overflow
    zero_point = int(rng.choice([integer.min, 0, integer.max, 7]))
    x_type, y_type = (
        quant(integer, in_scale, int(rng.integers(integer.min, integer.max + 1))),
        quant(integer, out_scale, zero_point),
    )
    params, contents = softmax_params(x_type, y_type, channels)
    rows = min(2000, 50_000 // channels)
    words = vectors_of(integer, channels, rows, rng.choice([1, 3, 10, 40, 300]), seed)
    session = onnx_session(x_type, y_type, channels, rows, (11, 13, 17)[seed % 3])
    x = words.reshape(rows, channels).astype(np.int8 if integer.signed else np.uint8)
    expected = session.run(None, {"x": x})[0]
    assert (params.compute(words, contents=contents) == expected.reshape(-1, 1)).all()


@pytest.mark.parametrize(
    ("integer", "in_scale", "out_scale", "zero_point", "channels", "spread"),
    [
        (INT8, 0.125, 1 / 256, -128, 12, 20),
        (INT8, 0.0001, 0.0117, -100, 1, 9),
        (UINT8, 0.02, 1 / 255, 0, 3, 30),
        (UINT8, 30.0, 1 / 256, 3, 4, 2),  # exponentials below the least normal float, and zeros
        (INT8, 0.7, 1.5, 5, 4, 20),  # a scale above one: every quotient is zero
        (INT8, 2.0**-7, 1 / 1024, 127, 33, 60),
        (UINT8, 0.05, 1 / 4000, 0, 40, 40),  # saturates
    ],
)
def test_hardware_is_reference(integer, in_scale, out_scale, zero_point, channels, spread):
    params, contents = built(integer, in_scale, out_scale, zero_point, channels)
    words = vectors_of(integer, channels, max(3, 100 // channels), spread)
    run = run_streams(params, [words], [len(words)], contents=contents)
    assert (run.outputs[0] == params.compute(words, contents=contents)).all()


def test_sum_is_rounded_as_onnx_runtime_does():
    """Vectors where an exact sum would give another result than one rounded to float32 after each addition."""
    params, contents = built(in_scale=0.01, channels=12)
    vectors = vectors_of(INT8, 12, 400_000, 30, 1)
    index = vectors.reshape(-1, 12) - vectors.reshape(-1, 12).max(1, keepdims=True) + 255
    total = contents.exponentials[index].sum(1, keepdims=True, dtype=np.float64).astype(np.float32)
    other = np.rint(contents.scaled[index] / total).astype(np.int64) - 128
    rare = (params.compute(vectors, contents=contents).reshape(-1, 12) != other.clip(-128, 127)).any(1)
    words = vectors.reshape(-1, 12)[rare]
    assert len(words) >= 3
    session = onnx_session(quant(INT8, 0.01, 3), quant(INT8, 1 / 256, -128), 12, len(words), 13)
    expected = session.run(None, {"x": words.astype(np.int8)})[0]
    assert (params.compute(words.reshape(-1, 1), contents=contents) == expected.reshape(-1, 1)).all()
    run = run_streams(params, [words.reshape(-1, 1)], [words.size], contents=contents)
    assert (run.outputs[0] == expected.reshape(-1, 1)).all()


@pytest.mark.parametrize("least", [1e3, 2.0**-130])
@pytest.mark.parametrize("spread", [2, 12, 60])
def test_float_rounding(least, spread):
    """Tables of random floats, quotients a unit in the last place around halves: the hardware rounds as float32 does."""
    channels, rng = 40, np.random.default_rng(spread)
    params = SoftmaxParams(element=UINT8, output=UINT8, channels=channels, levels=256, zero_point=0)
    for _ in range(6):
        exponentials = (least * 2.0 ** rng.uniform(0, spread, 256)).astype(np.float32)
        exponentials[::3] = np.ldexp(rng.integers(1 << 5, 1 << 7, 86), np.frexp(exponentials[::3])[1] - 7)  # few bits: ties
        x = rng.permutation(np.append(rng.choice(255, channels - 1, replace=False), 255))
        total = np.add.accumulate(exponentials[x], dtype=np.float32)[-1]
        halves = (rng.integers(2, 255, 256) + 0.5).astype(np.float32) * total
        units = rng.integers(-2, 3, 256).astype(np.int32)
        scaled = (halves.view(np.int32) + units).view(np.float32)
        contents = SoftmaxContents(exponentials=exponentials, scaled=scaled)
        run = run_streams(params, [x[:, None]], [channels], contents=contents)
        assert (run.outputs[0] == params.compute(x[:, None], contents=contents)).all()


def test_a_sum_rounds_up_to_a_power_of_two():
    params = SoftmaxParams(element=UINT8, output=UINT8, channels=2, levels=256, zero_point=0)
    exponentials, scaled = np.ones((2, 256), np.float32)
    exponentials[[7, 255]] = 0.5, 2**24 - 1  # their sum is a tie, and goes to the even 2**24
    scaled[[7, 255]] = 2**24 * 5.5, np.nextafter(np.float32(2**24 * 9.5), np.float32(0))  # 6; and just below a tie: 9
    contents, x = SoftmaxContents(exponentials=exponentials, scaled=scaled), np.array([[7], [255]])
    run = run_streams(params, [x], [2], contents=contents)
    assert run.outputs[0].tolist() == params.compute(x, contents=contents).tolist() == [[6], [9]]


@pytest.mark.parametrize("i_pause", STALLS)
@pytest.mark.parametrize("o_pause", [NO_STALL, (1, 1, 0), (1,) * 90 + (0,)])
def test_stalls(i_pause, o_pause):
    params, contents = built(in_scale=0.03, channels=3, vectors=2)
    words = vectors_of(INT8, 3, 6, 30)
    run = run_streams(params, [words], [18], contents=contents, i_pause=i_pause, o_pause=o_pause)
    assert (run.outputs[0] == params.compute(words, contents=contents)).all()


@pytest.mark.parametrize(("channels", "vectors"), [(1, 1), (2, 2)])
def test_timing_is_the_model(channels, vectors):
    params, contents = built(out_scale=0.01, channels=channels, vectors=vectors)
    assert params.cost().cycles == vectors * (46 * channels + 5)
    check_timing(params, contents)
    check_arrivals(params, contents)


@pytest.mark.parametrize(("channels", "vectors"), [(1, 1), (2, 2)])
def test_needed_and_accepted_are_the_hardware(channels, vectors):
    check_limits(*built(out_scale=0.01, channels=channels, vectors=vectors))


def test_errors():
    good = {"element": INT8, "output": INT8, "channels": 5, "levels": 256, "zero_point": -128}
    SoftmaxParams(**good)
    for change, message in (
        ({"element": IntType(7)}, r"element must have 8 bits, not 7"),
        ({"output": IntType(9)}, r"output must have 8 bits, not 9"),
        ({"output": UINT8}, r"output must be int8 like the input, not uint8"),
        ({"channels": 0}, r"channels must be positive, not 0"),
        ({"vectors": 0}, r"vectors must be positive, not 0"),
        ({"levels": 1 << 22}, r"levels must be in 0\.\.4194303, not 4194304"),
        ({"zero_point": 128}, r"zero_point must be in -128\.\.127, not 128"),
    ):
        with pytest.raises(ValueError, match=f"^{message}$"):
            SoftmaxParams(**good | change)
    for scale, channels, message in (
        (1 / 340, 2, "0.00337 for 2 channels, not 0.00294"),
        (1e-45, 2, "0.00337 for 2 channels, not 1.4e-45"),
        (1e-7, 10_000_000, "2.38e-07 for 10000000 channels, not 1e-07"),
    ):
        with pytest.raises(HwgenError) as error:
            built(out_scale=scale, channels=channels)
        text = f"softmax: its output scale must be at least {message}; quantise its output again (1/256 is usual)"
        assert str(error.value) == text
