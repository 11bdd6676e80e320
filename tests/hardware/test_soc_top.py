"""The SoC top around a real network, in Verilator, with cocotbext-axi's models at its buses (soc_bench.py)."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

import hwgen
from hwgen import flow
from hwgen.arith import IntType
from hwgen.hardware.bench import pack
from hwgen.hardware.link import interface
from hwgen.hardware.soc_top import Register, SocParams, SocTop, soc_verilog
from hwgen.hardware.verilator import lint, verilate
from hwgen.hardware.verilog import convert
from hwgen.output import read_manifest
from tests.hardware.cocotb_run import bench, run_cocotb

MODEL = Path(hwgen.__file__).parent / "models" / "digits" / "digits_cnn_int8_qdq_sym_perch.onnx"
PARAMS = {
    "name": "net", "design_id": bytes(range(8)), "input_bytes": 2, "input_words": 5, "output_bytes": 1, "output_words": 1,
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("soc") / "digits"
    flow.build(MODEL, "zu3eg", path, target_fps=60_000)
    return path


def in_bytes(words, stream):
    """Each frame's words as AXI4-Stream carries them."""
    element = IntType(8 * -(-stream["bits"] // 8), stream["signed"])
    frames = words.reshape(-1, stream["words"], stream["lanes"])
    return [pack(frame, element).tobytes().hex() for frame in frames]


@pytest.fixture(scope="module")
def outcome(folder, tmp_path_factory):
    """Name of each cocotb test, and its failure."""
    manifest, vectors = read_manifest(folder), np.load(folder / "vectors.npz")
    about = interface(folder)
    expected = {
        **about,
        "design_id": about["design_id"].hex(),
        "inputs": in_bytes(vectors["inputs"], manifest["input"]["stream"]),
        "outputs": in_bytes(vectors[manifest["output"]["tensor"]], manifest["output"]["stream"]),
        **manifest["figures"],
    }
    run = tmp_path_factory.mktemp("run")
    (run / "expected.json").write_text(json.dumps(expected))
    name = about["name"]
    top = SocTop(SocParams(**about))
    sources = {"tb.v": bench(f"{name}_soc", top.signature.members), "top.v": convert(top, f"{name}_soc")}
    assert soc_verilog(folder) == (f"{name}_soc", sources["top.v"])
    model = verilate(sources | {f"{name}.v": (folder / f"{name}.v").read_text()}, "tb")
    return run_cocotb(model, "tests.hardware.soc_bench", run, {"HWGEN_EXPECTED": str(run / "expected.json")})


@pytest.mark.parametrize(
    "name",
    [
        "registers",
        "order_and_backpressure",
        "many_at_once",
        "frames",
        "frames_with_pauses",
        "enable",
        "reset",
        "reset_by_register",
    ],
)
def test_bus_and_streams(outcome, name):
    cases, log = outcome
    assert len(cases) == 8
    assert cases[name] is None, f"{cases[name]}\n{log[-6000:]}"


def test_lint_is_clean(folder, tmp_path):
    top, text = soc_verilog(folder)
    assert top == "digits_cnn_int8_qdq_sym_perch_soc"
    (tmp_path / f"{top}.v").write_text(text)
    name = read_manifest(folder)["name"]
    waivers = (folder / f"{name}.vlt").read_text()
    (tmp_path / f"{top}.vlt").write_text(waivers + waivers.replace(name, top))
    assert lint([tmp_path / f"{top}.vlt", tmp_path / f"{top}.v", folder / f"{name}.v"], top) == ""


def test_registers_have_each_its_place():
    assert sorted(Register) == list(range(0, 4 * len(Register), 4))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"design_id": b"1234567"}, "design_id must have 8 bytes, not 7"),
        ({"input_words": 0}, "input_words must be in 1..4294967295, not 0"),
        ({"output_bytes": 1 << 32}, "output_bytes must be in 1..4294967295, not 4294967296"),
    ],
)
def test_bad_params(change, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        SocParams(**{**PARAMS, **change})
