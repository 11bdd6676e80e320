"""ECP5: registers behind a memory move into the memory.

A DP16KD (Lattice FPGA-TN-02204, "ECP5 and ECP5-5G memory usage guide") has registers at its outputs. Yosys does not use them;
its outputs are then late by more than half of a cycle of 100 MHz.
"""

from typing import Any

from .netlist import Bit, Cells, Control, readers, trellis_control

__all__ = ["absorb_output_registers"]

PORTS = {"A": ("DOA",), "B": ("DOB",)}
WHOLE = {"A": (), "B": ("DOA", "DOB")}  #: outputs of each port of a memory of 36 bits, which writes at A and reads at B


def absorb_output_registers(module: dict[str, Any]) -> int:
    """Move registers into memories, in a module of a netlist in Yosys's JSON, in place: how many flip-flops that saves.

    Those of a port move if all of its outputs that are read go to flip-flops and nowhere else, which have the port's clock,
    one enable, no set or reset, and are 0 at first.
    """
    cells: Cells = module["cells"]
    flip_flops = {name: cell for name, cell in cells.items() if cell["type"] == "TRELLIS_FF"}
    sinks = {cell["connections"]["DI"][0]: name for name, cell in flip_flops.items()}
    count = readers(module)
    saved = 0
    for memory in [cell for cell in cells.values() if cell["type"] == "DP16KD"]:
        parameters, nets = memory["parameters"], memory["connections"]
        whole = 36 in (_number(parameters["DATA_WIDTH_A"]), _number(parameters["DATA_WIDTH_B"]))
        for port, outputs in (WHOLE if whole else PORTS).items():
            pins = [f"{bus}{k}" for bus in outputs for k in range(18) if f"{bus}{k}" in nets]
            read = {pin: nets[pin][0] for pin in pins if nets[pin] and count[nets[pin][0]]}
            if not read or any(count[bit] != 1 or bit not in sinks for bit in read.values()):
                continue
            controls = {trellis_control(flip_flops[sinks[bit]]) for bit in read.values()}
            control = controls.pop() if len(controls) == 1 else None
            if control is None or not _same_clock(memory, port, control):
                continue
            for pin, bit in read.items():
                nets[pin] = flip_flops[sinks[bit]]["connections"]["Q"]
                del cells[sinks[bit]]
                saved += 1
            for side in "AB" if whole else port:
                parameters[f"REGMODE_{side}"] = "OUTREG"
            nets[f"OCE{port}"] = [control.enable]
    return saved


def _same_clock(memory: dict[str, Any], port: str, control: Control) -> bool:
    edge = memory["parameters"].get(f"CLK{port}MUX", f"CLK{port}")
    clock: Bit = memory["connections"][f"CLK{port}"][0]
    return clock == control.clock and (edge == "INV") == (control.edge == "INV")


def _number(parameter: str | int) -> int:
    return int(parameter, 2) if isinstance(parameter, str) else parameter
