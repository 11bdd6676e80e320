"""Bad input at the command line: a clear message, exit code 2, nothing half-written, no traceback."""

import json
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from functools import partial

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from hwgen.demo import MODEL, SAMPLES

from .frontend.builder import Model
from .frontend.test_fuzz import mutate

FLOAT = MODEL.with_name("digits_cnn_float.onnx")
COMMAND = [sys.executable, "-W", "error", "-c", "from hwgen.cli import main; main()"]
BUILD = [*COMMAND, "build", str(MODEL), "--board", "ulx3s-85f", "-o"]


def conv_model(shape=(1, 4, 6, 6)):
    m = Model()
    w = m.weights((3, 4, 3, 3))
    return m.build(shape, m.q(m.op("Conv", m.dq("x"), w, m.bias(w))))


def initializer(model, kind, size):
    return next(t for t in model.graph.initializer if t.data_type == kind and np.prod(t.dims) == size)


def with_type(kind):
    model = conv_model()
    initializer(model, TensorProto.INT8, 108).data_type = kind
    return model


def with_scale(value):
    model = conv_model()
    initializer(model, TensorProto.FLOAT, 3).raw_data = np.array([0.1, value, 0.1], np.float32).tobytes()
    return model


def with_external(location):
    model = conv_model()
    weights = initializer(model, TensorProto.INT8, 108)
    weights.ClearField("raw_data")
    weights.data_location = TensorProto.EXTERNAL
    weights.external_data.add(key="location", value=location)
    return model


def with_second(what):
    model = conv_model()
    values = getattr(model.graph, what)
    values.add().CopyFrom(values[0])
    values[1].name = "y"
    return model


def with_cycle():
    model = conv_model()
    conv = next(n for n in model.graph.node if n.op_type == "Conv")
    conv.input[0] = model.graph.node[-1].output[0]
    return model


def with_wrong_weights():
    model = conv_model()
    initializer(model, TensorProto.INT8, 108).dims[1] = 2
    return model


def with_operator(kind):
    m = Model()
    return m.build((1, 4, 6, 6), m.q(m.op(kind, m.dq("x"))))


def float_weights(value):
    model = onnx.load(FLOAT)
    weights = model.graph.initializer[0]
    array = np.frombuffer(weights.raw_data, np.float32).copy()
    array[3] = value
    weights.raw_data = array.tobytes()
    return model


WHOLE = conv_model().SerializeToString()
FILES = {
    "text": (lambda: b"hello, this is no model", "not an ONNX file"),
    "empty": (lambda: b"", "the file is empty; export the model again"),
    "truncated": (lambda: WHOLE[:-20], "not an ONNX file, or a truncated one"),
    "external missing": (lambda: with_external("w.bin"), "external data 'w.bin' is missing; copy that file"),
    "external outside": (lambda: with_external("../w.bin"), "'../w.bin' must lie beside the model, not elsewhere"),
    "dynamic": (lambda: conv_model((1, 4, "height", 6)), "dimension 2 (height) is dynamic; export with a fixed size"),
    "batch": (lambda: conv_model((4, 4, 6, 6)), "the batch must be 1 or dynamic, not 4; export it for one frame"),
    "rank": (lambda: conv_model((1, 4, 6)), "not a valid ONNX model: "),
    "rank 5": (lambda: conv_model((1, 4, 6, 6, 6)), "must have 2 to 4 dimensions with the batch, not 5"),
    "shape": (with_wrong_weights, "must hold 54 values for its shape [3, 2, 3, 3], not 108"),
    "channels": (lambda: conv_model((1, 5, 6, 6)), "weights (3, 4, 3, 3) in 1 groups must fit 5 input channels"),
    "int4": (lambda: with_type(TensorProto.INT4), "int4 is not supported; quantise to int8 or uint8"),
    "float16": (lambda: with_type(TensorProto.FLOAT16), "float16 is not supported; quantise to int8 or uint8"),
    "int16": (lambda: with_type(TensorProto.INT16), "int16 is not supported; quantise to int8 or uint8"),
    "NaN scale": (lambda: with_scale(np.nan), "holds NaN or infinite values; train or export the model again"),
    "infinite scale": (lambda: with_scale(np.inf), "holds NaN or infinite values; train or export the model again"),
    "NaN weight": (lambda: float_weights(np.nan), "holds NaN or infinite values; train or export the model again"),
    "infinite weight": (lambda: float_weights(-np.inf), "holds NaN or infinite values; train or export the model again"),
    "zero scale": (lambda: with_scale(0), "its scale must be positive; quantise the model again"),
    "negative scale": (lambda: with_scale(-1), "its scale must be positive; quantise the model again"),
    "float": (lambda: onnx.load(FLOAT), "float model: give --calibration SAMPLES.npz to quantise it"),
    "cycle": (with_cycle, "operators form a cycle: "),
    "two inputs": (lambda: with_second("input"), "must have one input, not 2 (x, y); export it with a single input"),
    "two outputs": (lambda: with_second("output"), "must have one output, not 2 ("),
    "huge": (lambda: conv_model((1, 4, 1 << 14, 1 << 14)), "1073741824 elements are more than fit; use a smaller input"),
    "unknown operator": (lambda: with_operator("Frobnicate"), "Frobnicate is not supported"),
}
ANSWERED = {"unknown operator", "zero scale", "negative scale", "channels"}  #: valid files, so `check` says no instead


@pytest.mark.parametrize("name", FILES)
def test_models(hwgen, tmp_path, name):
    make, message = FILES[name]
    content = make()
    model = tmp_path / "inside" / "m.onnx"
    model.parent.mkdir()
    model.write_bytes(content if isinstance(content, bytes) else content.SerializeToString())
    (tmp_path / "w.bin").write_bytes(bytes(108))
    code, out, err = hwgen("build", model, "--board", "zu3eg", "-o", tmp_path / "out")
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert message in err
    assert sorted(p.name for p in tmp_path.iterdir()) == ["inside", "w.bin"]
    code, out, err = hwgen("check", model, "--board", "zu3eg", "--json")
    if name in ANSWERED:
        assert code == 1
        result = json.loads(out)
        assert (result["supported"], result["fits"], result["predicted_fps"]) == (False, False, None)
        assert any(message.partition(";")[0] in n["detail"] for n in result["nodes"] if n["status"] == "unsupported")
    else:
        assert (code, out) == (2, "")
        assert message in err


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (
            {"inputs": np.zeros((4, 3, 3), np.float32)},
            "calibration samples must be (N, 1, 8, 8) as the model's input, not (4, 3, 3)",
        ),
        ({"inputs": np.zeros((0, 1, 8, 8), np.float32)}, "calibration samples must not be empty"),
        ({"inputs": np.full((4, 1, 8, 8), np.inf, np.float32)}, "calibration samples must be finite float32 numbers, not inf"),
        ({"inputs": np.array(["a"])}, "inputs must be numbers, not <U1"),
        ({"x": np.zeros(3)}, "must have an array named inputs; it has x"),
        (b"hello", "not an .npz file (numpy.savez), damaged, or not of numbers"),
        (None, "does not exist"),
    ],
)
def test_calibration(hwgen, tmp_path, arrays, message):
    path = tmp_path / "samples.npz"
    if isinstance(arrays, bytes):
        path.write_bytes(arrays)
    elif arrays is not None:
        np.savez(path, **arrays)
    for command, *more in (["check"], ["build", "-o", tmp_path / "out"]):
        code, out, err = hwgen(command, FLOAT, "--board", "zu3eg", "--calibration", path, *more)
        assert (code, out) == (2, "")
        assert err.startswith("error: ")
        assert message in err
    assert not (tmp_path / "out").exists()


def test_calibration_of_a_quantised_model(hwgen):
    code, _, err = hwgen("check", MODEL, "--board", "zu3eg", "--calibration", SAMPLES)
    assert (code, err.count("\n")) == (2, 1)
    assert "the model is already quantised: calibration is for float models, leave --calibration out" in err


TINY = """
device = "X"
input_clock_mhz = 1
clock_mhz = 1
lut_inputs = 4
bram_kbit = 18
flow = "verilog"
budget = {lut = 100, ff = 50000, dsp = 40, bram = 1}
"""


def test_network_that_does_not_fit(hwgen, tmp_path):
    (tmp_path / "tiny.toml").write_text(TINY)
    board = ["--board", tmp_path / "tiny.toml"]
    reason = (
        r"the network does not fit tiny: lut: at least \d+ needed, 100 available; .*choose a larger board or a smaller network"
    )
    code, out, err = hwgen("build", MODEL, *board, "-o", tmp_path / "out")
    assert (code, out) == (2, "")
    assert re.fullmatch(f"error: {reason}\n", err)
    code, out, err = hwgen("check", MODEL, *board)
    assert (code, err) == (1, "")
    assert re.search(reason, out)
    assert [p.name for p in tmp_path.iterdir()] == ["tiny.toml"]


def test_network_that_takes_too_long(hwgen, tmp_path):
    """Bounded before anything as large as a frame's stream is computed with."""
    m = Model()
    y = m.op("AveragePool", m.dq("x"), kernel_shape=[128, 128])
    path = tmp_path / "m.onnx"
    path.write_bytes(m.build((1, 4, 400, 400), m.q(y)).SerializeToString())
    code, _, err = hwgen("check", path, "--board", "zcu102", "--json")
    assert code == 1
    assert err == (
        "the network is too large for zcu102: pool0 would take 1221083136 cycles a frame or more, and 67108864 are the limit; "
        "choose a larger board or a smaller network\n"
    )


@pytest.mark.parametrize(
    ("kind", "attributes", "message"),
    [
        ("Conv", {"pads": [1 << 20] * 4}, f"its padded input would have {4 * (6 + 2**21) ** 2} elements, more than 16777216"),
        ("MaxPool", {"kernel_shape": [4096, 4096], "pads": [4095] * 4}, "its padded input would have "),
        ("AveragePool", {"kernel_shape": [300, 300], "pads": [299] * 4}, "its window (300, 300) has more than 16384 pixels"),
    ],
)
def test_huge_attributes(hwgen, tmp_path, kind, attributes, message):
    m = Model()
    more = [m.weights((3, 4, 3, 3))] if kind == "Conv" else []
    path = tmp_path / "m.onnx"
    path.write_bytes(m.build((1, 4, 6, 6), m.q(m.op(kind, m.dq("x"), *more, **attributes))).SerializeToString())
    code, out, err = hwgen("check", path, "--board", "zcu102", "--json")
    assert (code, err) == (1, "some operators are not supported\n")
    assert any(n["detail"].startswith(message) for n in json.loads(out)["nodes"])


def test_target_fps_out_of_reach(hwgen, tmp_path):
    code, out, err = hwgen("build", MODEL, "--board", "zu3eg", "--target-fps", "1e9", "-o", tmp_path / "out")
    assert (code, out) == (2, "")
    assert re.fullmatch(
        r"error: 1e\+09 frames per second are out of reach on zu3eg: the slowest layer allows [\d.]+ "
        r"\(\d+ cycles at 200 MHz\); lower --target-fps or choose a board with more multipliers\n",
        err,
    )
    assert not list(tmp_path.iterdir())


def test_output_folder(hwgen, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("years of work")
    for folder, message in (
        (tmp_path / "mine", "holds files that are not hwgen's: choose another folder, or empty it"),
        (tmp_path / "mine" / "thesis.tex", "is a file: choose another folder"),
        (tmp_path / "mine" / "thesis.tex" / "out", "cannot write output folder"),
        ("/proc/sys/kernel/hwgen", "cannot write output folder /proc/sys/kernel/hwgen: "),
        (tmp_path / ("x" * 300), "File name too long"),
    ):
        code, out, err = hwgen("build", MODEL, "--board", "zu3eg", "-o", folder)
        assert (code, out) == (2, "")
        assert err.startswith("error: ")
        assert message in err
    assert [p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*")] == ["mine", "mine/thesis.tex"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            {"inputs": np.zeros((4, 3, 3))},
            "inputs must be frames of shape (1, 8, 8) or (8, 8, 1) for the model's input 'input', not (3, 3)",
        ),
        (
            {"inputs": np.zeros((4, 1, 8, 8)) * np.nan},
            "inputs must be finite float32 numbers: they hold NaN, infinite or larger values",
        ),
        ({"inputs": np.full((4, 1, 8, 8), 128)}, "quantised inputs must be in -128..127, not 128..128"),
        ({"inputs": np.zeros((0, 1, 8, 8))}, "inputs must hold at least one frame"),
        ({"inputs": np.float32(1)}, "inputs must hold at least one frame"),
        ({"inputs": np.array(["a"])}, "inputs must be numbers, not <U1"),
        ({"inputs": np.array([{}])}, "is not an .npz file (numpy.savez), is damaged, or holds no plain numbers"),
        ({"x": np.zeros(3)}, "must hold an array named 'inputs', it has x"),
        (np.zeros(3), "must be an .npz file (numpy.savez), not a single array"),
        (SAMPLES.read_bytes()[:3000], "is not an .npz file (numpy.savez), is damaged, or holds no plain numbers"),
        (b"hello", "is not an .npz file (numpy.savez), is damaged, or holds no plain numbers"),
        (b"", "is not an .npz file (numpy.savez), is damaged, or holds no plain numbers"),
        (None, "no such file"),
    ],
)
def test_inputs(hwgen, tmp_path, built, content, message):
    path = tmp_path / "x.npz"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif isinstance(content, np.ndarray):
        with open(path, "wb") as file:
            np.save(file, content)
    elif content is not None:
        np.savez(path, **content)
    code, out, err = hwgen("simulate", built, "--inputs", path)
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert message in err


def test_simulate_what_is_no_output(hwgen, tmp_path, built):
    copy = tmp_path / "copy"
    shutil.copytree(built, copy)
    for file, message in (
        ("digits_cnn_int8_qdq_sym_perch.v", "cannot read "),
        ("model.onnx", "no such file"),
        ("design.json", "is not a folder that hwgen made: it has no design.json"),
    ):
        (copy / file).unlink()
        code, out, err = hwgen("simulate", copy)
        assert (code, out) == (2, "")
        assert message in err
    code, out, err = hwgen("simulate", built, "--limit", "1", "--trace", tmp_path / "none" / "x.fst")
    assert (code, out) == (2, "")
    assert "there is no such folder" in err


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bad") / "out"
    subprocess.run([*BUILD, folder], check=True, stdout=subprocess.DEVNULL)
    return folder


def contents(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize(
    ("how", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, -signal.SIGTERM), (signal.SIGKILL, -signal.SIGKILL)]
)
def test_interrupted_build(hwgen, tmp_path, built, how, code):
    """The previous output survives; what is left beside it does not disturb."""
    out = tmp_path / "out"
    shutil.copytree(built, out)
    before = contents(out)
    fresh = tmp_path / ".out.hwgen-new"
    heard = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # it may be ignored where the tests run in the background
    with subprocess.Popen(
        [*BUILD, out], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=heard
    ) as process:
        while not fresh.exists():
            assert process.poll() is None
            time.sleep(0.005)
        time.sleep(0.2)
        second = hwgen("build", MODEL, "--board", "ulx3s-85f", "-o", out)
        process.send_signal(how)
        _, err = process.communicate(timeout=60)
    assert process.returncode == code
    assert "Traceback" not in err
    assert contents(out) == before
    assert second == (2, "", f"error: another hwgen is writing to {out}: wait for it, or choose another folder\n")
    if how == signal.SIGINT:
        assert err == "error: interrupted\n"
        assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_full_disk(tmp_path, built):
    command = ["unshare", "-rm", "sh", "-c", 'mount -t tmpfs -o size=128k tmpfs "$0" && exec "$@"', str(tmp_path)]
    if shutil.which("unshare") is None or subprocess.run([*command, "true"], check=False, capture_output=True).returncode:
        pytest.skip("a small file system cannot be mounted here")
    script = f"""
import shutil, sys
from pathlib import Path
out = Path({str(tmp_path)!r}) / "out"
out.mkdir()
shutil.copy({str(built)!r} + "/design.json", out)
from hwgen.cli import main
try:
    main(sys.argv[1:])
finally:
    print(sorted(p.relative_to(out.parent).as_posix() for p in out.parent.rglob("*")))
"""
    arguments = ["build", str(MODEL), "--board", "ulx3s-85f", "-o", str(tmp_path / "out")]
    run = subprocess.run([*command, sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=False)
    assert run.stderr == f"error: cannot write output folder {tmp_path / 'out'}: No space left on device\n"
    assert (run.returncode, run.stdout) == (2, "['out', 'out/design.json']\n")


@pytest.mark.parametrize("seed", range(4))
def test_mutated_models(hwgen, tmp_path, seed):
    """With those of tests/frontend/test_fuzz.py more than a thousand; these go on to the choice of the hardware."""
    original = onnx.load(MODEL)
    rng = random.Random(seed)
    codes = set()
    for k in range(30):
        model = onnx.ModelProto()
        model.CopyFrom(original)
        mutate(model, rng)
        path = tmp_path / f"m{k}.onnx"
        path.write_bytes(model.SerializeToString())
        start = time.monotonic()
        code, _, err = hwgen("check", path, "--board", "icebreaker" if k % 2 else "zcu102")
        assert code in (0, 1, 2), err
        assert time.monotonic() - start < 20
        codes.add(code)
    assert codes == {0, 1, 2}
