"""Simulate what synthesis made of an accelerator: the device's cells instead of the Verilog they were made from."""

import json
import re
import shutil
import tempfile
from pathlib import Path

from . import simulation
from .board import board_of
from .flow import MODEL, expected_tensors
from .frontend import import_model, load_onnx
from .hardware.devices import device_of
from .hardware.tools import run_tool
from .inputs import random_frames
from .output import read_manifest
from .simulation import SimulationResult

__all__ = ["check_netlist", "netlist_verilog"]


def netlist_verilog(folder: Path, models: str = "") -> str:
    """The accelerator in ``folder`` as a netlist for its board, as ``hwgen bitstream`` has it, each cell replaced by its model.

    Parameters
    ----------
    models
        Verilog text of models of the board's cells, which go before Yosys's own.

    Raises
    ------
    HwgenError
        If the folder is not hwgen's, or synthesis fails.
    ValueError
        If the board has no open place-and-route.
    """
    manifest = read_manifest(folder)
    device, name = device_of(board_of(folder)), manifest["name"]
    with tempfile.TemporaryDirectory(prefix="hwgen-") as temporary:
        work = Path(temporary)
        log = work / "log.txt"
        shutil.copy(folder / f"{name}.v", work / "accelerator.v")
        script = f"read_verilog accelerator.v; {device.synthesis} -top {name} -json netlist.json"
        run_tool("yosys", ["-q", "-p", script], work, log)
        module = json.loads((work / "netlist.json").read_text())["modules"][name]
        device.improve(module)
        (work / "netlist.json").write_text(json.dumps({"modules": {name: module}}))
        (work / "models.v").write_text(models)
        script = (
            f"read_json netlist.json; read_verilog models.v; read_verilog -nooverwrite {device.models}; "
            f"hierarchy -check -top {name}; proc; flatten; opt_expr; opt_clean; write_verilog -noattr netlist.v"
        )
        run_tool("yosys", ["-q", "-p", script], work, log)
        # Bits that are never written have no address; Verilator wants one.
        return re.sub(r"\[(\d+)'hx+\]", r"[\1'h0]", (work / "netlist.v").read_text())


def check_netlist(folder: Path, netlist: str, frames: int = 10) -> SimulationResult:
    """Compare the output of ``netlist``, Verilog made from the accelerator in ``folder``, with ONNX Runtime's.

    Parameters
    ----------
    frames
        How many, of random numbers.

    Raises
    ------
    HwgenError
        If the folder is not hwgen's, the simulation cannot be built, or stops before all frames are out.
    """
    model = load_onnx(folder / MODEL)
    graph = import_model(model)
    inputs = random_frames(graph, frames)
    expected, _ = expected_tensors(graph, model, inputs)
    return simulation.simulate(folder, inputs.hardware, {graph.output: expected[graph.output]}, netlist=netlist)
