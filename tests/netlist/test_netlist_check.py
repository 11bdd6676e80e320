"""Small networks as netlists, simulated against ONNX Runtime: each device's cells, and the passes that change them.

``python -m benchmarks.netlist`` does the same with the digits network.
"""

from pathlib import Path

import numpy as np
import onnx
import pytest

from hwgen.flow import build
from hwgen.hardware.devices import ice40
from hwgen.netlist_check import check_netlist, netlist_verilog
from tests import random_networks
from tests.network_specs import Conv, NetworkSpec

CELLS = Path(__file__).parents[1] / "hardware" / "cells"
MULTIPLIER = CELLS / "mult18x18d.v"
#: Few enough weights that no block RAM holds them: for that of the ECP5 there is no model with all its words.
SPEC = NetworkSpec(size=(5, 4, 2), layers=(Conv(channels=4, kernel=(2, 2), pads=(1, 0, 0, 1)),), seed=3)
FRAMES = 10


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "small.onnx"
    onnx.save(random_networks.build(SPEC), path)
    return path


def checked(folder, netlist):
    result = check_netlist(folder, netlist, FRAMES)
    assert result.frames == FRAMES
    assert result.elements_compared == result.output.size > 0
    return result


@pytest.mark.parametrize(("board", "models"), [("icebreaker", ""), ("ulx3s-85f", MULTIPLIER.read_text())])
def test_netlist(board, models, model, tmp_path):
    built = build(model, board, tmp_path / "net", dsp_only=True)
    assert built.resources.dsp >= 2
    netlist = netlist_verilog(tmp_path / "net", models)
    result = checked(tmp_path / "net", netlist)
    assert result.mismatches == 0
    assert (result.interval_cycles, result.latency_cycles) == (built.interval_cycles, built.latency_cycles)
    assert len(np.unique(result.output)) > 10


@pytest.mark.slow
def test_the_sequential_engine(model, tmp_path):
    """Its sums in multipliers, its memories in SPRAM."""
    built = build(model, "icebreaker", tmp_path / "net", style="overlay")
    netlist = netlist_verilog(tmp_path / "net", (CELLS / "sb_spram256ka.v").read_text())
    result = checked(tmp_path / "net", netlist)
    assert result.mismatches == 0
    assert (result.interval_cycles, result.latency_cycles) == (built.interval_cycles, built.latency_cycles)


def test_a_fault_is_found(model, tmp_path, monkeypatch):
    folder = tmp_path / "net"
    build(model, "icebreaker", folder, dsp_only=True)
    monkeypatch.setattr(ice40, "pair_multipliers", _crossed)
    netlist = netlist_verilog(folder)
    assert checked(folder, netlist).mismatches > 0


def _crossed(module):
    """Two bits of one product change places."""
    cell = next(cell for cell in module["cells"].values() if cell["type"] == "SB_MAC16")
    bits = cell["connections"]["O"]
    bits[8], bits[12] = bits[12], bits[8]
