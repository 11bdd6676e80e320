"""Unusual networks, names and options at the command line: built without error, simulated without difference."""

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest

from hwgen.demo import MODEL, SAMPLES

from .frontend.builder import Model

COMMAND = [sys.executable, "-W", "error", "-c", "from hwgen.cli import main; main()"]


def conv(m, x="x", scale=0.02, zero=3, channels=4, outputs=3, kernel=3, **attributes):
    w = m.weights((outputs, channels, kernel, kernel))
    return m.q(m.op("Conv", m.dq(x, scale, zero), w, m.bias(w, scale), **attributes))


def pool(m):
    return m.q(m.op("MaxPool", m.dq("x"), kernel_shape=[2, 2], strides=[2, 2]), 0.02, 3)


def both_branches(m):
    a, b = (m.dq(conv(m, pads=[1] * 4, outputs=2), 0.1, 5) for _ in range(2))
    return m.q(m.op("Add", a, b))


def output_read_again(m):
    y = conv(m)
    conv(m, y, 0.1, 5, channels=3)
    return y


def output_inside(m):
    """The output also feeds a branch that leads nowhere, and comes from a tensor with two readers."""
    a = conv(m, pads=[1] * 4, outputs=4)
    y = m.q(m.op("Add", m.dq(a, 0.1, 5), m.dq("x")))
    conv(m, y, 0.1, 5)
    return y


def all_zero(m):
    weights = m.const(np.zeros((3, 4, 3, 3), np.int8))
    w = m.op("DequantizeLinear", weights, m.const(np.float32(0.01)), m.const(np.int8(0)))
    return m.q(m.op("Conv", m.dq("x"), w))


def dense(m):
    return m.q(m.op("MatMul", m.dq("x"), m.weights((5, 3), axis=1)))


IMAGE = (1, 4, 6, 6)
NETWORKS = {
    "two branches": (IMAGE, both_branches),
    "output read again": (IMAGE, output_read_again),
    "output inside": (IMAGE, output_inside),
    "all weights zero": (IMAGE, all_zero),
    "no MACs": (IMAGE, pool),
    "one channel": ((1, 1, 5, 5), lambda m: conv(m, channels=1, outputs=1)),
    "one pixel": ((1, 4, 1, 1), lambda m: conv(m, kernel=1)),
    "one multiplication": ((1, 1), lambda m: m.q(m.op("MatMul", m.dq("x"), m.weights((1, 1), axis=1)))),
    "dense": ((1, 5), dense),
}


def write(path, name):
    shape, make = NETWORKS[name]
    m = Model()
    path.write_bytes(m.build(shape, make(m)).SerializeToString())
    return path


@pytest.mark.parametrize("name", NETWORKS)
def test_unusual_networks(hwgen, tmp_path, name):
    """Built twice, as text and as JSON: nothing divides by zero."""
    model, out = write(tmp_path / f"{name}.onnx", name), tmp_path / "out"
    code, text, err = hwgen("build", model, "--board", "ulx3s-85f", "-o", out)
    assert (code, err) == (0, "")
    assert "proven optimal" in text
    report = (out / "report.md").read_text()
    code, text, err = hwgen("check", model, "--board", "ulx3s-85f", "--json")
    assert (code, err) == (0, "")
    result = json.loads(text)
    assert (result["supported"], result["fits"]) == (True, True)
    assert result["predicted_fps"] == 1e8 / json.loads((out / "design.json").read_text())["figures"]["interval_cycles"]
    macs = {"no MACs": 0, "one multiplication": 1, "dense": 15, "one pixel": 12, "all weights zero": 16 * 108}
    if name in macs:
        assert f"| MACs of a frame | {macs[name]:,} |" in report
    if name in ("no MACs", "dense", "output inside"):
        code, text, err = hwgen("simulate", out, "--json")
        assert (code, err) == (0, "")
        assert json.loads(text)["mismatches"] == 0


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("with spaces", "with_spaces"),
        ("8bit", "net_8bit"),
        ("v1.2.3", "v1_2_3"),
        ("Größe", "Gr_e"),
        ("模型", "net"),
        ("module", None),
        ("-o", "o"),
    ],
)
def test_names_of_files(hwgen, tmp_path, monkeypatch, file, name):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / f"{file}.onnx", "one multiplication")
    code, out, err = hwgen("build", "--board", "zu3eg", "--json", "--", f"{file}.onnx")
    assert (code, err) == (0, "")
    (folder,) = (tmp_path / "rtl_out").iterdir()
    assert name in (folder.name, None)
    assert json.loads(out)["folder"] == f"rtl_out/{folder.name}"
    assert (folder / f"{folder.name}.v").exists()


def test_relative_output(hwgen, tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    model = write(tmp_path / "m.onnx", "dense")
    code, out, err = hwgen("build", model, "--board", "zu3eg", "-o", "../deep/er/out", "--style", "auto", "--json")
    assert (code, err) == (0, "")
    assert (json.loads(out)["folder"], json.loads(out)["style"]) == ("../deep/er/out", "dataflow")
    assert (tmp_path / "deep" / "er" / "out" / "m.v").exists()


def built(hwgen, folder, *options):
    code, out, err = hwgen("build", MODEL, "--board", "ulx3s-85f", "-o", folder, "--json", *options)
    assert (code, err) == (0, "")
    return json.loads(out)


def test_objectives(hwgen, tmp_path):
    """Each is best at what it is for."""
    results = {o: built(hwgen, tmp_path / o, "--objective", o) for o in ("throughput", "latency", "area")}
    interval, latency, luts = (
        {o: figure(r) for o, r in results.items()}
        for figure in (lambda r: r["interval_cycles"], lambda r: r["latency_cycles"], lambda r: r["resources"]["lut"])
    )
    assert min(interval, key=interval.get) == "throughput"
    assert min(latency, key=latency.get) == "latency"
    assert min(luts, key=luts.get) == "area"
    assert all(r["proven"] and r["bound"] == r["objective"] for r in results.values())
    enough = built(hwgen, tmp_path / "fps", "--target-fps", "20000")
    assert interval["throughput"] < enough["interval_cycles"] <= 100e6 / 20000
    assert luts["area"] < enough["resources"]["lut"] < luts["throughput"]


def test_same_input_same_bytes(tmp_path):
    """Whatever the working folder, the output folder's name and the hash seed."""
    runs = []
    for k, folder in enumerate(("a", "other/place")):
        cwd = tmp_path / f"cwd{k}"
        cwd.mkdir()
        model = shutil.copy(MODEL, cwd / "digits.onnx")
        command = [*COMMAND, "build", model.name if k else str(model), "--board", "ulx3s-85f", "-o", folder]
        run = subprocess.run(
            command, cwd=cwd, env=os.environ | {"PYTHONHASHSEED": str(7 * k + 1)}, capture_output=True, text=True, check=False
        )
        assert (run.returncode, run.stderr) == (0, "")
        out = cwd / folder
        runs.append({p.relative_to(out).as_posix(): p.read_bytes() for p in out.rglob("*") if p.is_file()})
    first, second = runs
    assert {"digits.v", "design.json", "report.md", "model.onnx", "vectors.npz"} <= set(first)
    assert set(first) == set(second)
    for name in first:
        assert first[name] == second[name], name


def test_inputs_of_simulate(hwgen, tmp_path):
    """The model's layout or channels last, real or quantised; --limit."""
    built(hwgen, tmp_path / "out")
    with np.load(SAMPLES) as samples:
        real = samples["inputs"][:3]
    quantised = np.clip(np.rint(real / np.float32(real.max() / 127)), -128, 127).astype(np.int8)
    for k, frames in enumerate((real, real.transpose(0, 2, 3, 1), quantised, quantised.transpose(0, 2, 3, 1).astype(np.int64))):
        path = tmp_path / f"{k}.npz"
        np.savez(path, inputs=frames)
        code, out, err = hwgen("simulate", tmp_path / "out", "--inputs", path, "--json", "--limit", 9 if k else 2)
        assert (code, err) == (0, "")
        assert (json.loads(out)["frames"], json.loads(out)["mismatches"]) == (3 if k else 2, 0)


@pytest.mark.slow
def test_waveform(hwgen, tmp_path):
    model = write(tmp_path / "m.onnx", "one multiplication")
    hwgen("build", model, "--board", "ulx3s-85f", "-o", tmp_path / "out")
    code, out, err = hwgen("simulate", tmp_path / "out", "--stalls", "--trace", tmp_path / "x.fst")
    assert (code, err) == (0, "")
    assert "with stalls" in out
    assert (tmp_path / "x.fst").stat().st_size > 100
