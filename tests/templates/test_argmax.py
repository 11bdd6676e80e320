import numpy as np
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper

from hwgen.arith import IntType
from hwgen.templates.argmax import ArgMaxParams
from hwgen.testing import STALLS, run_streams
from tests.templates.contract import check_arrivals, check_limits, check_timing


def frames_of(element, channels, frames, seed=0):
    """Frames with many equal elements, extremes included."""
    rng = np.random.default_rng(seed)
    words = rng.integers(-1, 2, (frames, channels)) * (element.max // 2) + element.max // 2
    words[0], words[1], words[2, -1], words[3, 0] = element.min, element.max, element.max, element.max
    return words.reshape(-1, 1)


@pytest.mark.parametrize("channels", [1, 2, 5, 12])
@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("i_pause", STALLS)
@pytest.mark.parametrize("o_pause", [*STALLS, (1,) * 9 + (0,)])
def test_hardware_is_reference(channels, last, i_pause, o_pause):
    element = IntType(8, channels != 5)
    params = ArgMaxParams(element=element, channels=channels, last=last)
    words = frames_of(element, channels, 12)
    run = run_streams(params, [words], [12], i_pause=i_pause, o_pause=o_pause)
    assert (run.outputs[0] == params.compute(words)).all()


@pytest.mark.parametrize("last", [False, True])
def test_compute_is_onnx_runtime(last):
    node = helper.make_node("ArgMax", ["x"], ["y"], axis=1, keepdims=1, select_last_index=int(last))
    x = helper.make_tensor_value_info("x", TensorProto.INT8, [500, 7])
    y = helper.make_tensor_value_info("y", TensorProto.INT64, [500, 1])
    model = helper.make_model(
        helper.make_graph([node], "g", [x], [y]), opset_imports=[helper.make_opsetid("", 13)], ir_version=8
    )
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    words = frames_of(IntType(8), 7, 500)
    expected = session.run(None, {"x": words.reshape(500, 7).astype(np.int8)})[0]
    assert (ArgMaxParams(element=IntType(8), channels=7, last=last).compute(words) == expected).all()


@pytest.mark.parametrize("channels", [1, 2, 9])
def test_cycles_and_departures_are_the_model(channels):
    check_timing(ArgMaxParams(element=IntType(8), channels=channels))
    check_arrivals(ArgMaxParams(element=IntType(8), channels=channels))


@pytest.mark.parametrize("channels", [1, 2, 9])
def test_needed_and_accepted_are_the_hardware(channels):
    check_limits(ArgMaxParams(element=IntType(8), channels=channels))


def test_errors():
    with pytest.raises(ValueError, match=r"^channels must be positive, not 0$"):
        ArgMaxParams(element=IntType(8), channels=0)
