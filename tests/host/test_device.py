"""The driver against the simulated board: emitted Verilog in Verilator behind a pseudo-terminal."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest

import hwgen
from hwgen import flow
from hwgen.demo import MODEL, SAMPLES
from hwgen.errors import HwgenError
from hwgen.frontend import import_model, load_onnx
from hwgen.host.device import Device
from hwgen.host.serve import simulated_board
from hwgen.inputs import host_outputs, make_frames
from tests.host.noise import FAULTS, NoisyLine

COMMAND = [sys.executable, "-W", "error", "-c", "from hwgen.cli import main; main()"]
INPUTS = np.load(SAMPLES)["inputs"]
NO_PORT = r"cannot open /dev/nothing: there is no such port; there is (none at all: is the board plugged in\?|/dev/.*)"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("device") / "digits"
    flow.build(MODEL, "ulx3s-85f", path)
    return path


@pytest.fixture(scope="module")
def board(folder):
    with simulated_board(folder) as board:
        yield board


@pytest.fixture(scope="module")
def expected(folder):
    """ONNX Runtime's outputs for INPUTS."""
    model = load_onnx(folder / "model.onnx")
    graph = import_model(model)
    tensors, _ = flow.expected_tensors(graph, model, make_frames(graph, INPUTS))
    return host_outputs(graph, tensors[graph.output])


def test_outputs_are_those_of_onnx_runtime(folder, board, expected):
    shares = []
    with hwgen.Device(folder, board.port) as device:
        first = device.run(INPUTS[:1])
        rest = device.measure(make_frames(device.graph, INPUTS[1:]), shares.append)
    assert first.dtype == np.float32
    assert (first == expected[:1]).all()
    assert (rest.outputs == expected[1:]).all()
    assert (rest.frames, rest.sessions, rest.damaged_packets) == (len(INPUTS) - 1, 0, 0)
    assert rest.interval_cycles >= 384
    assert shares == sorted(shares)
    assert shares[-1] == 1


def test_a_noisy_line_changes_nothing(folder, board, expected):
    """benchmarks/host_link.py does the same with 10,000 frames."""
    with NoisyLine(board.port, rate=2e-3) as line:
        with Device(folder, line.port) as device:
            result = device.measure(make_frames(device.graph, INPUTS[:100]))
        assert (result.outputs == expected[:100]).all()
        assert set(line.counts) == set(FAULTS)
        assert result.sessions > 0


def test_the_reset_button_in_mid_frame(folder, board, expected):
    with Device(folder, board.port) as device:
        pressing = threading.Timer(0.3, board.process.send_signal, [signal.SIGUSR1])
        pressing.start()
        result = device.measure(make_frames(device.graph, INPUTS[:80]))
        pressing.join()
    assert (result.outputs == expected[:80]).all()
    assert result.sessions == 1


def test_another_host_comes_and_goes(folder, board, expected):
    with Device(folder, board.port) as device:
        device._step(device.transfer, make_frames(device.graph, INPUTS[:20]).hardware, 0)  # and gives up in mid-frame
    with Device(folder, board.port) as device:
        assert (device.run(INPUTS[:3]) == expected[:3]).all()


def test_an_interrupted_run_leaves_nothing_behind(folder, board, expected):
    def interrupt(share):
        raise KeyboardInterrupt

    with Device(folder, board.port) as device:
        with pytest.raises(KeyboardInterrupt):
            device.measure(make_frames(device.graph, INPUTS[:50]), interrupt)
        result = device.measure(make_frames(device.graph, INPUTS[:5]))
    assert (result.outputs == expected[:5]).all()
    assert result.sessions == 1


def test_wrong_bitstream(folder, board, tmp_path):
    other = shutil.copytree(folder, tmp_path / "other")
    name = json.loads((other / "design.json").read_text())["name"]
    with open(other / f"{name}.v", "a") as file:
        file.write("// another\n")
    message = (
        rf"^the board on \S+ has another bitstream: design [0-9a-f]{{16}}, not [0-9a-f]{{16}} of {re.escape(str(other))}; load"
    )
    with pytest.raises(HwgenError, match=message), Device(other, board.port):
        pass


def test_unplugged_in_mid_transfer(folder):
    with simulated_board(folder) as board, Device(folder, board.port) as device:
        threading.Timer(0.5, board.process.kill).start()
        with pytest.raises(HwgenError, match=r"^the connection to /dev/\S+ broke off; was the board unplugged\? \("):
            device.measure(make_frames(device.graph, np.tile(INPUTS, (20, 1, 1, 1))))


def test_ports(folder, board, tmp_path, monkeypatch):
    with pytest.raises(HwgenError, match=f"^{NO_PORT}$"), Device(folder, "/dev/nothing"):
        pass
    (tmp_path / "file").touch()
    with pytest.raises(HwgenError, match=r"file: it is not a serial port; there is "), Device(folder, str(tmp_path / "file")):
        pass
    with Device(folder, board.port), pytest.raises(HwgenError, match=r": it is in use by another program: end that first$"):
        Device(folder, board.port).__enter__()
    silent, slave = os.openpty()
    monkeypatch.setattr("hwgen.host.device._PATIENCE", 0.5)
    with pytest.raises(HwgenError, match=r"^nothing answers on /dev/\S+: "), Device(folder, os.ttyname(slave)):
        pass
    os.close(silent)
    os.close(slave)


def test_bad_inputs(folder, board):
    with Device(folder, board.port) as device:
        with pytest.raises(HwgenError, match=r"^inputs must be frames of shape \(1, 8, 8\)"):
            device.run(np.zeros((3, 9, 9)))
        with pytest.raises(HwgenError, match=r"^inputs must be numbers, not <U1$"):
            device.run(np.array(["a"]))
    with pytest.raises(ValueError, match=r"^the device must be open: use it in a with block$"):
        device.run(INPUTS[:1])
    with pytest.raises(HwgenError, match=r"is not a folder that hwgen made: there is no such folder$"):
        Device(folder / "none", board.port)


def test_command_line(folder, expected, tmp_path):
    with subprocess.Popen(
        [*COMMAND, "simulate", folder, "--serve", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    ) as server:
        lines = ""
        while not lines.endswith("}\n"):
            lines += server.stdout.readline()
        port = json.loads(lines)["port"]
        run = [*COMMAND, "run", folder, "--port", port, "--inputs", SAMPLES, "--limit", "20"]
        done = subprocess.run([*run, "--outputs", tmp_path / "y.npz", "--json"], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")
        assert json.loads(done.stdout)["frames"] == 20
        assert (np.load(tmp_path / "y.npz")["outputs"] == expected[:20]).all()
        done = subprocess.run(run, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")
        assert re.search(r"^frames +20 in [0-9.]+ s = [0-9.,]+ frames/s", done.stdout, re.M)
        done = subprocess.run([*run, "--outputs", tmp_path / "no" / "y"], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.endswith("y: there is no such folder\n")
        server.send_signal(signal.SIGINT)
        assert server.wait(20) == 0
        assert server.stderr.read() == ""


def test_usage(hwgen, folder):
    code, _, err = hwgen("simulate", folder, "--serve", "--stalls")
    assert code == 2
    assert "takes no other options than --json" in err
    code, _, err = hwgen("run", folder, "--port", "/dev/nothing", "--inputs", SAMPLES)
    assert code == 2
    assert re.fullmatch(f"error: {NO_PORT}\n", err)
