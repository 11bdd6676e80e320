import json
import os
import re
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from hwgen.board import board_names
from hwgen.cli import messages
from hwgen.demo import MODEL, SAMPLES
from hwgen.errors import HwgenError

COMMAND = [sys.executable, "-W", "error", "-c", "from hwgen.cli import main; main()"]


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cli") / "digits"
    run = subprocess.run(
        [*COMMAND, "build", MODEL, "--board", "ulx3s-85f", "-o", folder, "--json"], capture_output=True, text=True, check=False
    )
    assert run.stderr == ""
    assert run.returncode == 0
    return folder, json.loads(run.stdout)


def test_help_names_every_command(hwgen):
    code, out, err = hwgen("--help")
    assert (code, err) == (0, "")
    for command in ("check", "build", "simulate", "demo", "boards"):
        assert re.search(rf"^ +{command} ", out, re.M)


def test_boards(hwgen):
    code, out, err = hwgen("boards", "--json")
    assert (code, err) == (0, "")
    boards = json.loads(out)
    assert [b["name"] for b in boards] == board_names()
    assert set(boards[0]) == {"name", "device", "clock_mhz", "budgets", "bram_kbit", "flow", "makes"}
    code, out, err = hwgen("boards")
    assert (code, err) == (0, "")
    assert all(name in out for name in board_names())


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["nothing"], "No such command 'nothing'"),
        (["check"], "Missing argument 'MODEL.onnx'"),
        (["check", "x.onnx"], "Missing option '--board'"),
        (["build", "x.onnx", "--board", "zu3eg", "--style", "systolic"], "'systolic' is not one of"),
        (["build", "x.onnx", "--board", "zu3eg", "--objective", "power"], "'power' is not one of"),
        (["build", "x.onnx", "--board", "zu3eg", "--target-fps", "0"], "must be positive, not 0"),
        (["build", "x.onnx", "--board", "zu3eg", "--target-fps", "nan"], "must be positive, not nan"),
        (["build", "x.onnx", "--board", "zu3eg", "--target-fps", "fast"], "Invalid value for '--target-fps'"),
        (["simulate", "x", "--limit", "0"], "Invalid value for '--limit'"),
        (["simulate", "x", "--seed", "-1"], "Invalid value for '--seed'"),
        (["boards", "--jsn"], "No such option"),
        (["build", "x.onnx", "--board", "zu3eg", "--array", "16"], "must be rows x columns up to 255, such as 16x16, not 16"),
        (["build", "x.onnx", "--board", "zu3eg", "--array", "16x256"], "must be rows x columns up to 255"),
        (["build", "x.onnx", "--board", "zu3eg", "--axi-width", "48"], "must be 32, 64, 128 or 256"),
        (["build", "x.onnx", "--board", "zu3eg", "--lanes", "6"], "must be 1, 2, 4, 8 or 16"),
        (["simulate", "x", "--memory-pause", "20/4"], "must be A/B with A below B, such as 4/20, not 20/4"),
        (["simulate", "x", "--memory-latency", "0"], "Invalid value for '--memory-latency'"),
    ],
)
def test_usage_errors(hwgen, args, message):
    code, out, err = hwgen(*args)
    assert (code, out) == (2, "")
    assert message in " ".join(err.replace("│", " ").split())


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["check", MODEL, "--board", "ulx3s"], "unknown board 'ulx3s': did you mean ulx3s-85f?"),
        (["check", "missing.onnx", "--board", "zu3eg"], "missing.onnx"),
        (["build", MODEL, "--board", "zu3eg", "--style", "auto", "--retrainable"], "--retrainable and --like are for"),
        (["simulate", "missing"], "missing"),
    ],
)
@pytest.mark.parametrize("as_json", [False, True])
def test_bad_input(hwgen, args, message, as_json):
    code, out, err = hwgen(*args, *(["--json"] if as_json else []))
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert message in err
    assert "Traceback" not in err


def test_check(hwgen):
    code, out, err = hwgen("check", MODEL, "--board", "ulx3s-85f", "--json")
    assert (code, err) == (0, "")
    result = json.loads(out)
    assert set(result) == {"supported", "nodes", "fits", "predicted_fps"}
    assert result["supported"]
    assert result["fits"]
    assert result["predicted_fps"] > 1000
    assert all(n["status"] in ("supported", "rewritten") for n in result["nodes"])
    code, out, err = hwgen("check", MODEL, "--board", "ulx3s-85f")
    assert (code, err) == (0, "")
    assert "ok  fits ulx3s-85f" in out


def test_check_of_what_does_not_fit(hwgen, tmp_path):
    tiny = tmp_path / "tiny.toml"
    tiny.write_text(
        'device = "X"\ninput_clock_mhz = 1\nclock_mhz = 1\nlut_inputs = 4\nbram_kbit = 18\nflow = "verilog"\n'
        "budget = {lut = 100, ff = 100, dsp = 4, bram = 1}\n"
    )
    code, out, err = hwgen("check", MODEL, "--board", tiny, "--json")
    assert code == 1
    result = json.loads(out)
    assert (result["supported"], result["fits"], result["predicted_fps"]) == (True, False, None)
    assert "does not fit" in err


def test_build(built):
    folder, result = built
    assert set(result) == {
        "style", "board", "folder", "macs", "multipliers", "interval_cycles", "latency_cycles", "resources", "objective",
        "bound", "proven",
    }  # fmt: skip
    assert set(result["resources"]) == {"lut", "ff", "dsp", "bram"}
    assert (result["style"], result["board"], result["macs"]) == ("dataflow", "ulx3s-85f", 117_760)
    assert result["interval_cycles"] * result["multipliers"] >= result["macs"]
    assert list(folder.glob("*.v"))


def test_simulate(built, hwgen):
    code, out, err = hwgen("simulate", built[0], "--inputs", SAMPLES, "--limit", "3", "--json")
    assert (code, err) == (0, "")
    result = json.loads(out)
    assert set(result) == {
        "frames", "elements_compared", "mismatches", "interval_cycles", "latency_cycles", "predicted_interval_cycles",
        "predicted_latency_cycles", "cycles_per_second",
    }  # fmt: skip
    assert (result["frames"], result["mismatches"]) == (3, 0)
    assert result["interval_cycles"] == result["predicted_interval_cycles"] == built[1]["interval_cycles"]
    assert result["latency_cycles"] == result["predicted_latency_cycles"] == built[1]["latency_cycles"]


def test_simulate_with_stalls(built, hwgen):
    code, out, err = hwgen("simulate", built[0], "--inputs", SAMPLES, "--limit", "2", "--stalls", "--seed", "3")
    assert (code, err) == (0, "")
    assert out.startswith("ok  ")
    assert "with stalls" in out


@pytest.mark.slow
def test_demo(hwgen, tmp_path):
    code, out, err = hwgen("demo", "-o", tmp_path / "digits", "--json")
    assert (code, err) == (0, "")
    result = json.loads(out)
    assert result["simulate"]["mismatches"] == 0
    assert result["simulate"]["frames"] == len(result["predicted"]) == 100
    with np.load(SAMPLES) as samples:
        assert result["accuracy"] == (samples["labels"][:100] == result["predicted"]).mean()
    assert result["accuracy"] >= 0.96


def test_messages_of_exceptions(capsys):
    for error, code, text in (
        (HwgenError("a [b] c"), 2, "error: a [b] c\n"),
        (KeyboardInterrupt(), 130, "error: interrupted\n"),
    ):
        with pytest.raises(SystemExit) as exit_info, messages():
            raise error
        assert exit_info.value.code == code
        assert capsys.readouterr().err == text


def test_bug_leaves_a_report(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.delenv("HWGEN_DEBUG", raising=False)
    with pytest.raises(SystemExit) as exit_info, messages():
        raise KeyError("x")
    assert exit_info.value.code == 70
    (report,) = tmp_path.iterdir()
    assert capsys.readouterr().err == (
        f"error: internal error: KeyError: 'x'\nThis is a bug in hwgen: please report it with {report}.\n"
    )
    assert "Traceback" in report.read_text()
    monkeypatch.setenv("HWGEN_DEBUG", "1")
    with pytest.raises(KeyError), messages():
        raise KeyError("x")


def test_reader_that_leaves_early():
    read, write = os.pipe()
    os.close(read)
    for args in (["boards"], ["boards", "--json"]):
        run = subprocess.run([*COMMAND, *args], stdout=write, stderr=subprocess.PIPE, text=True, check=False)
        assert (run.returncode, run.stderr) == (1, "")
    os.close(write)


def test_ctrl_c(tmp_path):
    with subprocess.Popen(
        [*COMMAND, "check", MODEL, "--board", "ulx3s-85f"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    ) as process:
        maps = Path(f"/proc/{process.pid}/maps")
        while "onnx" not in maps.read_text():  # Python's own handling before that
            time.sleep(0.01)
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (130, "error: interrupted\n")
