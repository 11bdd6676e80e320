"""An overlay's folder for a system on chip: its top in Verilator, driven by what the folder says (soc_bench.py)."""

import hashlib
import json
import re
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest

from hwgen import flow
from hwgen.errors import HwgenError
from hwgen.expected import expected_tensors
from hwgen.frontend import import_model, load_onnx
from hwgen.hardware.emit import WAIVERS
from hwgen.hardware.registers import table
from hwgen.hardware.soc_top import Register as DataflowRegister
from hwgen.hardware.vendor_project import write_project
from hwgen.hardware.verilator import lint, verilate
from hwgen.hardware.verilog import convert
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
    assert sources["overlay_soc.v"] == convert(top, "overlay_soc")
    env = {"HWGEN_FOLDER": str(folder), "HWGEN_VECTORS": str(run / "vectors.npz")}
    return run_cocotb(verilate(sources, "tb"), "tests.overlay.soc_bench", run, env)


@pytest.mark.parametrize("name", NAMES)
def test_driver(outcome, name):
    cases, log = outcome
    assert sorted(cases) == sorted(NAMES)
    assert cases[name] is None, f"{cases[name]}\n{log[-6000:]}"


def test_folder(folder):
    """What hwgen build writes more than for other boards, and that the driver's page says what the manifest does."""
    manifest, text = read_manifest(folder), (folder / "README.md").read_text()
    image = (folder / "image.bin").read_bytes()
    places = dict(re.findall(r"^\| (0x\w+) \| (?:input|output|program)[ :]*`?(\w+)", text, re.M))
    regions = {f"0x{region['address']:X}": name for name, region in manifest["regions"].items()}
    program = f"0x{manifest['image']['program']:X}"
    assert places == regions | {program: str(manifest["image"]["instructions"])}
    assert f"Take {len(image):,} bytes of memory at a multiple of 4096" in text
    assert f"{program} to PROGRAM, {manifest['image']['instructions']} to INSTRUCTIONS" in text
    design = hashlib.sha256((folder / "overlay.v").read_bytes()).digest()[:8]
    assert manifest["design_id"] == design.hex()
    words = [f"0x{int.from_bytes(design[k : k + 4], 'little'):08X}" for k in (0, 4)]
    assert f"ID_LOW is {words[0]}, ID_HIGH {words[1]}." in text
    assert text.endswith(table(Register))


def test_project(folder, tmp_path):
    """The engine and its top, out of context."""
    assert write_project(folder, tmp_path, 150) == 150
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"README.md", "build.tcl", "overlay.v", "overlay_soc.v", "overlay_soc.xdc"}
    for name in ("overlay.v", "overlay_soc.v"):
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()
    script, text = (tmp_path / "build.tcl").read_text(), (tmp_path / "README.md").read_text()
    assert "add_files {overlay.v overlay_soc.v}\n" in script
    assert "synth_design -top overlay_soc -mode out_of_context\n" in script
    assert "`m_axi` for a port of its memory" in text
    with pytest.raises(HwgenError, match=r"^--clock must be 1 to 1000 MHz for xczu3eg-sbva484-1-e, not 1e\+09$"):
        write_project(folder, tmp_path, 1e9)


def test_project_of_a_board_with_pins(folder, tmp_path):
    """Its serial link does not reach the memory, so it is a part of a system there too."""
    shutil.copytree(folder, tmp_path / "arty")
    manifest = json.loads((folder / "design.json").read_text())
    (tmp_path / "arty" / "design.json").write_text(json.dumps(manifest | {"board": "arty-a7-100t"}))
    (tmp_path / "into").mkdir()
    assert write_project(tmp_path / "arty", tmp_path / "into") == 100
    assert "-part xc7a100ticsg324-1L overlay_soc\n" in (tmp_path / "into" / "build.tcl").read_text()


@pytest.mark.parametrize("board", ["ulx3s-85f", "icebreaker", "tang-primer-20k"])
def test_boards_without_such_a_system(folder, tmp_path, board):
    shutil.copytree(folder, tmp_path / "net")
    manifest = json.loads((folder / "design.json").read_text())
    (tmp_path / "net" / "design.json").write_text(json.dumps(manifest | {"board": board}))
    message = (
        r"net has an overlay with external memory, which only a system on chip connects with it: build it with --on-chip, "
        r"or for a board with a project for Vivado \(hwgen boards\)$"
    )
    with pytest.raises(HwgenError, match=message):
        bitstream(tmp_path / "net")


def test_lint_is_clean(folder, tmp_path):
    """Besides: the usual name of an interrupt, a word of C++; the engine's lengths of bursts, whose upper bits are copies."""
    rules = "".join(f'lint_off -rule {rule} -file "*.v"\n' for rule in (*WAIVERS, "SYMRSVDWORD", "UNOPTFLAT"))
    (tmp_path / "waivers.vlt").write_text(f"`verilator_config\n{rules}")
    assert lint([tmp_path / "waivers.vlt", folder / "overlay_soc.v", folder / "overlay.v"], "overlay_soc") == ""


def test_documentation():
    path = Path(__file__).parents[2] / "docs" / "registers.md"
    assert path.read_text() == soc_top.reference(), "run python -m hwgen.overlay.soc_top > docs/registers.md"


def test_registers_have_each_its_place():
    assert sorted(Register) == list(range(0, 4 * len(Register), 4))
    assert [r.name for r in Register][:5] == [r.name for r in DataflowRegister][:5]  # the same in both tops
