"""An overlay's folder for a system on chip: its top in Verilator, driven by what the folder says (soc_bench.py)."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from hwgen import flow
from hwgen.errors import HwgenError
from hwgen.expected import expected_tensors
from hwgen.frontend import import_model, load_onnx
from hwgen.hardware.emit import WAIVERS
from hwgen.hardware.registers import RegisterMap
from hwgen.hardware.verilator import lint, verilate
from hwgen.implementation import bitstream
from hwgen.inputs import random_frames
from hwgen.output import MODEL, read_manifest
from hwgen.overlay import soc_top
from hwgen.overlay.engine import Engine
from hwgen.overlay.shape import Wish
from hwgen.overlay.soc_top import OverlaySocTop, Register
from tests.hardware.cocotb_run import bench, run_cocotb
from tests.network_specs import Conv, Dense, NetworkSpec
from tests.random_networks import build as build_model

SPEC = NetworkSpec(size=(7, 5, 3), layers=(Conv(channels=5, kernel=(3, 3), pads=(1, 1, 1, 1)),), dense=(Dense(channels=6),))
WISH = Wish(array=(4, 3), bus=8)
NAMES = [
    "registers", "frames", "two_images", "cycles", "interrupts", "refused", "errors", "reset_by_wire", "reset_by_register",
    "reset_of_a_stuck_engine",
]  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("soc")
    onnx.save(build_model(SPEC), path / "net.onnx")
    flow.build(path / "net.onnx", "zu3eg", path / "net", style="overlay", wish=WISH)
    return path / "net"


@pytest.fixture(scope="module")
def outcome(folder, tmp_path_factory):
    """Name of each cocotb test, and its failure."""
    run = tmp_path_factory.mktemp("run")
    model, manifest = load_onnx(folder / MODEL), read_manifest(folder)
    graph = import_model(model)
    frames = random_frames(graph, 3)
    expected, _ = expected_tensors(graph, model, frames)
    np.savez(run / "vectors.npz", inputs=frames.hardware, outputs=expected[manifest["output"]["tensor"]])
    top = OverlaySocTop(Engine(**manifest["engine"]), bytes.fromhex(manifest["design_id"]))
    sources = {"tb.v": bench("overlay_soc", top.signature.members)}
    sources |= {name: (folder / name).read_text() for name in ("overlay.v", "overlay_soc.v")}
    env = {"HWGEN_FOLDER": str(folder), "HWGEN_VECTORS": str(run / "vectors.npz")}
    return run_cocotb(verilate(sources, "tb"), "tests.overlay.soc_bench", run, env)


@pytest.mark.parametrize("name", NAMES)
def test_driver(outcome, name):
    cases, log = outcome
    assert sorted(cases) == sorted(NAMES)
    assert cases[name] is None, f"{cases[name]}\n{log[-6000:]}"
