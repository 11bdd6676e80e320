"""The overlay from the command line's side: build, simulate, damaged folders."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from hwgen import flow, overlay_flow
from hwgen.board import load_board
from hwgen.choosing import choose
from hwgen.demo import MODEL, SAMPLES
from hwgen.errors import HwgenError
from hwgen.frontend import import_model
from hwgen.hardware.verilator import lint
from hwgen.output import read_manifest
from hwgen.overlay.pictures import PICTURES
from hwgen.overlay.shape import Wish
from hwgen.overlay.timing import MemoryTiming
from hwgen.overlay_flow import overlay_latency
from tests.network_specs import Conv, Dense, NetworkSpec, Pool
from tests.random_networks import build as build_model

WISH = Wish(array=(5, 3), bus=4)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    folder = tmp_path_factory.mktemp("overlay") / "digits"
    return folder, flow.build(MODEL, "ulx3s-85f", folder, style="overlay", wish=WISH)


def test_build(built):
    folder, result = built
    names = {"overlay.v", "image.bin", "program.txt", "design.json", "report.md", "model.onnx", *PICTURES}
    assert {path.name for path in folder.iterdir()} == names
    wanted = "style board folder rows columns lanes scratchpad bus multipliers macs latency_cycles external_bytes"
    wanted += " objective bound proven"
    assert f"Engine chosen: {result.chosen}." in (folder / "report.md").read_text()
    assert set(result.to_json()) == set(wanted.split())
    assert (result.rows, result.columns, result.bus, result.multipliers) == (5, 3, 4, 15)
    assert sum(row.cycles for row in result.layers) <= result.latency_cycles
    assert sum(row.macs for row in result.layers) == result.macs
    assert re.findall(r"!\[\w+\]\((.*)\)", (folder / "report.md").read_text()) == list(PICTURES)
    again = folder.parent / "again"
    flow.build(MODEL, "ulx3s-85f", again, style="overlay", wish=WISH)
    for name in names:
        assert (again / name).read_bytes() == (folder / name).read_bytes(), name


@pytest.mark.parametrize("memory", [None, MemoryTiming(latency=40, silent=4, period=20)])
def test_simulate(built, memory):
    folder, _ = built
    result = flow.simulate(folder, SAMPLES, limit=3, memory=memory)
    assert result.mismatches == 0
    assert result.elements_compared == 3 * 2378
    assert result.outputs.shape == (3, 10)
    if memory is None:
        assert abs(result.latency_cycles / result.predicted_latency_cycles - 1) < 0.02
        assert result.external_bytes == flow.read_manifest(folder)["figures"]["external_bytes"]


def test_simulate_with_stalls(built):
    plain, stalled = (flow.simulate(built[0], SAMPLES, limit=1, stalls=stalls) for stalls in (False, 3))
    assert stalled.mismatches == 0
    assert stalled.latency_cycles > plain.latency_cycles
    assert (stalled.outputs == plain.outputs).all()


def test_tensors_in_bands(tmp_path):
    """A scratchpad that the network's tensors have no room in."""
    small, large = (replace(WISH, scratchpad=size) for size in (1024, 4096))
    result = flow.build(MODEL, "ulx3s-85f", tmp_path / "bands", style="overlay", wish=small)
    whole = flow.build(MODEL, "ulx3s-85f", tmp_path / "whole", style="overlay", wish=large)
    assert whole.latency_cycles < result.latency_cycles
    assert whole.external_bytes < result.external_bytes
    run = flow.simulate(tmp_path / "bands", SAMPLES, limit=2)
    assert run.mismatches == 0
    assert abs(run.latency_cycles / run.predicted_latency_cycles - 1) < 0.02
    assert run.external_bytes == result.external_bytes


def test_a_wrong_layer_is_named(built, monkeypatch):
    real = flow.simulate_overlay.__globals__["expected_tensors"]

    def wrong(*arguments):
        tensors, compared = real(*arguments)
        name = list(tensors)[2]
        tensors[name] = tensors[name].copy()
        tensors[name][0, 1, 0, 1] += 1
        return tensors, compared

    monkeypatch.setitem(flow.simulate_overlay.__globals__, "expected_tensors", wrong)
    result = flow.simulate(built[0], SAMPLES, limit=1)
    assert result.mismatches == 1
    assert "frame 0, element (1, 0, 1): expected " in result.first_mismatch


def damaged(built, tmp_path):
    folder = tmp_path / "damaged"
    shutil.copytree(built[0], folder)
    return folder


def test_damaged_image(built, tmp_path):
    folder = damaged(built, tmp_path)
    image = bytearray((folder / "image.bin").read_bytes())
    image[100] ^= 1
    (folder / "image.bin").write_bytes(image)
    with pytest.raises(HwgenError, match=r"image\.bin is damaged: its checksum is not that of the build; build it again$"):
        flow.simulate(folder)


def test_program_of_another_engine(built, tmp_path):
    folder = damaged(built, tmp_path)
    manifest = json.loads((folder / "design.json").read_text())
    manifest["engine"]["lanes"] *= 2
    (folder / "design.json").write_text(json.dumps(manifest))
    with pytest.raises(HwgenError, match=r"^the program of .* is for another engine than overlay\.v there; build it again$"):
        flow.simulate(folder)


def test_missing_image(built, tmp_path):
    folder = damaged(built, tmp_path)
    (folder / "image.bin").unlink()
    with pytest.raises(HwgenError, match=r"^cannot read .*image\.bin: No such file or directory; build it again$"):
        flow.simulate(folder)


def test_options_of_the_other_style(built, tmp_path):
    with pytest.raises(HwgenError, match=r"^--array, --multipliers, .*--axi-width and --on-chip are for --style overlay$"):
        flow.build(MODEL, "ulx3s-85f", tmp_path / "x", wish=WISH)
    with pytest.raises(HwgenError, match=r"^--objective, --target-fps, .* and --like are for --style dataflow$"):
        flow.build(MODEL, "ulx3s-85f", tmp_path / "x", style="overlay", dsp_only=True)
    with pytest.raises(HwgenError, match=r"^--trace is for --style dataflow and for --on-chip$"):
        flow.simulate(built[0], trace=tmp_path / "x.fst")


def test_chosen_engine(tmp_path):
    result = flow.build(MODEL, "tang-primer-20k", tmp_path / "digits", style="overlay", wish=Wish(multipliers=12))
    assert result.multipliers <= 12
    run = flow.simulate(tmp_path / "digits", SAMPLES, limit=1)
    assert run.mismatches == 0
    assert np.isfinite(run.cycles_per_second)


@pytest.mark.parametrize(("bits", "widest"), [(16, 4), (32, 4), (64, 8), (512, 32)])
def test_the_bus_is_no_wider_than_the_memory(bits, widest, tmp_path):
    """Unless it is given, or the memory is on chip. 4 bytes are the least that an engine has."""
    text = (Path(__file__).parents[1] / "boards" / "ulx3s-85f.toml").read_text()
    (tmp_path / "mine.toml").write_text(text.replace("bits = 16", f"bits = {bits}"))
    board = load_board(str(tmp_path / "mine.toml"))
    assert max(overlay_flow.buses(board, Wish())) == widest
    assert max(overlay_flow.buses(board, Wish(on_chip=True))) == max(overlay_flow.buses(load_board("zu3eg"), Wish())) == 32


@pytest.mark.slow
def test_the_bus_of_the_chosen_engine(tmp_path):
    wish = Wish(array=(8, 8))
    assert flow.build(MODEL, "ulx3s-85f", tmp_path / "a", style="overlay", wish=wish).bus == 4
    assert flow.build(MODEL, "zu3eg", tmp_path / "b", style="overlay", wish=wish).bus > 4
    assert flow.build(MODEL, "ulx3s-85f", tmp_path / "c", style="overlay", wish=replace(wish, bus=16)).bus == 16


def test_no_engine_fits(tmp_path):
    message = (
        r"^no engine fits the board: each takes at least [\d,]+ look-up tables of 3,584, [\d,]+ flip-flops of 3,656, "
        r"[\d,]+ block RAMs of 10; choose a larger board, smaller --array, --multipliers, --lanes or --scratchpad, "
        r"or --style dataflow$"
    )
    board = tmp_path / "small.toml"
    text = (Path(__file__).parents[1] / "boards" / "icebreaker.toml").read_text()
    board.write_text(text.replace("spram = 4\n", "").replace("bram = 30", "bram = 12"))  # with SPRAM there is another engine
    with pytest.raises(HwgenError, match=message):
        flow.build(MODEL, str(board), tmp_path / "digits", style="overlay")


@pytest.fixture(scope="module")
def on_chip(tmp_path_factory):
    folder = tmp_path_factory.mktemp("overlay") / "on_chip"
    return folder, flow.build(MODEL, "ulx3s-85f", folder, style="overlay", wish=replace(WISH, on_chip=True))


def test_on_chip(on_chip):
    """A folder as of a dataflow accelerator: streams at both ends."""
    folder, result = on_chip
    name = read_manifest(folder)["name"]
    files = {f"{name}.v", f"{name}.vlt", "design.json", "vectors.npz", "program.txt", "report.md", "model.onnx", *PICTURES}
    assert {path.name for path in folder.iterdir()} == files
    assert not lint([folder / f"{name}.vlt", folder / f"{name}.v"], name)
    run = flow.simulate(folder, SAMPLES, limit=3)
    assert (run.mismatches, run.elements_compared) == (0, 3 * 2378)
    assert run.outputs.shape == (3, 10)
    assert (run.predicted_latency_cycles, run.predicted_interval_cycles) == (result.latency_cycles, result.interval_cycles)
    assert run.latency_cycles == pytest.approx(run.predicted_latency_cycles, rel=0.01)
    assert run.interval_cycles == pytest.approx(run.predicted_interval_cycles, rel=0.01)


def test_a_wrong_layer_on_chip_is_named(on_chip, monkeypatch):
    """One that stays inside."""
    real = flow.expected_tensors
    inside, sizes = [], {}

    def wrong(*arguments):
        tensors, compared = real(*arguments)
        inside.extend(set(tensors) - set(read_manifest(on_chip[0])["tensors"]))
        sizes.update({name: tensor.size for name, tensor in tensors.items()})
        tensors[inside[0]] = tensors[inside[0]] + 1
        return tensors, compared

    monkeypatch.setattr(flow, "expected_tensors", wrong)
    result = flow.simulate(on_chip[0], SAMPLES, limit=1)
    assert result.mismatches == sizes[inside[0]]
    assert result.first_mismatch.startswith(f"{inside[0]}, frame 0")


WIDE = NetworkSpec(size=(4, 4, 16), layers=(Conv(channels=16, kernel=(3, 3), pads=(1, 1, 1, 1)),), dense=(Dense(channels=400),))


@pytest.mark.slow
def test_auto():
    """Dataflow where it fits; an overlay where it does not, or where its latency is less and wanted."""
    graph = import_model(build_model(WIDE))
    boards = {name: load_board(name) for name in ("ulx3s-85f", "tang-primer-20k")}
    found = {
        (name, objective): flow.dataflow_unless_overlay(graph, board, objective)
        for name, board in boards.items()
        for objective in ("throughput", "latency")
    }
    assert found["ulx3s-85f", "throughput"]
    assert not found["tang-primer-20k", "throughput"]
    assert not found["tang-primer-20k", "latency"]
    dataflow = choose(graph, boards["ulx3s-85f"], "latency", None).timing.latency
    less = overlay_latency(graph, boards["ulx3s-85f"]) < dataflow
    assert (found["ulx3s-85f", "latency"] is None) == less


def test_auto_builds_an_overlay(tmp_path):
    onnx.save(build_model(WIDE), tmp_path / "wide.onnx")
    result = flow.build(tmp_path / "wide.onnx", "tang-primer-20k", tmp_path / "x", style="auto")
    assert read_manifest(tmp_path / "x")["style"] == result.to_json()["style"] == "overlay"


def test_neither_style(tmp_path):
    spec = NetworkSpec(
        size=(64, 64, 3), layers=(Pool(operator="AveragePool", kernel=(2, 2), strides=(2, 2)), Conv(channels=255))
    )
    onnx.save(build_model(replace(spec, dense=(Dense(channels=200),))), tmp_path / "large.onnx")
    with pytest.raises(
        HwgenError, match=r"^dataflow: the network does not fit icebreaker.*; overlay: the weights alone take \d+ bytes"
    ):
        flow.build(tmp_path / "large.onnx", "icebreaker", tmp_path / "x", style="auto")
