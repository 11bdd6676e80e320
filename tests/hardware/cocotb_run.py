"""Cocotb's tests on a Verilated model, and what became of each."""

import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

from amaranth.lib.wiring import In

ROOT = Path(__file__).parents[2]


def bench(top, members):
    """A module with ``top``'s ports as signals that cocotb can reach."""
    lines = []
    for name, member in members.items():
        kind, access = ("reg", "rw") if member.flow is In else ("wire", "rd")
        lines.append(f"  {kind} [{member.shape - 1}:0] {name} /* verilator public_flat_{access} */;")
    ports = ", ".join(f".{name}({name})" for name in members)
    return "module tb;\n" + "\n".join(lines) + f"\n  {top} dut ({ports});\nendmodule\n"


def run_cocotb(model, module, folder, environment, timeout=500):
    """Name of each test of ``module`` and its failure, and the log; ``model`` has the top ``tb``."""
    import find_libpython
    from cocotb_tools import config

    env = {key: value for key, value in os.environ.items() if not key.startswith(("COCOTB_", "PYTEST_"))}
    env |= {
        "GPI_USERS": f"{find_libpython.find_libpython()};{config.pygpi_entry_point()}",
        "PYGPI_PYTHON_BIN": sys.executable,
        "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path]),
        "COCOTB_TOPLEVEL": "tb",
        "COCOTB_TEST_MODULES": module,
        "COCOTB_RESULTS_FILE": str(folder / "results.xml"),
        "TOPLEVEL_LANG": "verilog",
        **environment,
    }
    command = [str(model), "+verilator+rand+reset+2", "+verilator+seed+1"]
    kept = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    done = subprocess.run(command, cwd=folder, env=env, timeout=timeout, **kept)
    assert (folder / "results.xml").exists(), done.stdout
    cases = ElementTree.parse(folder / "results.xml").iter("testcase")
    return {
        case.get("name"): next((c.get("error_msg", "failed") for c in case if c.tag in ("failure", "error")), None)
        for case in cases
    }, done.stdout
