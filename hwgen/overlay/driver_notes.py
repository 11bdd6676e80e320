"""README.md of an overlay for a system on chip: what a driver has to know."""

from typing import Any

from ..hardware.registers import table
from .soc_top import PAGE, SOC_NAME, Register

__all__ = ["driver_notes"]

_NOTES = """\
# {name} for {board}
Made by hwgen. `{soc}.v` is the engine (`{module}.v`) with AXI4-Lite registers (`s_axi_*`), an AXI4 port for memory
(`m_axi_*`, {bits} bits of data, 32 of address), an interrupt (`interrupt`, active high), `aclk` and `aresetn` (active low,
synchronous). `hwgen bitstream` makes a project for Vivado of it.

## A driver
1. Check the hardware: ID_LOW is 0x{id_low:08X}, ID_HIGH 0x{id_high:08X}. Other networks for this engine are other images.
2. Take {size:,} bytes of memory at a multiple of {page}, below 4 GiB, and copy `image.bin` there: once, frames leave it as it
   must be.
3. Write its address to BASE, {program} to PROGRAM, {instructions} to INSTRUCTIONS.
4. For each frame: write the input, 1 to CONTROL; wait until bit 0 of STATUS is 0, or for the interrupt; see that its error
   bits are 0; read the output.

The port does not see the processor's caches: take memory that is not cached, or write back the input's lines before the frame
and drop the output's after it. A frame takes about {cycles:,} cycles where the memory answers as `hwgen simulate` supposes;
LATENCY says what it took.

## Memory
Offsets from BASE. A tensor is rows of pixels of channels, a byte for each element; each row begins with a new beat of the bus.

| first byte | what | rows × pixels × channels | bytes from row to row | byte | real number |
|---|---|---|---|---|---|
{tensors}
| {program} | program: {instructions} instructions, 32 bytes each | | | | |

What lies between belongs to the engine.{exchanged}{rest}

## Registers
{registers}"""


def driver_notes(manifest: dict[str, Any]) -> str:
    """The text, of what an overlay's manifest says."""
    image, regions = manifest["image"], manifest["regions"]
    design = bytes.fromhex(manifest["design_id"])
    ends = {"input": manifest["input"]["tensor"], "output": manifest["output"]["tensor"]}
    tensors = "\n".join(_row(what, name, regions[name]) for what, name in ends.items())
    exchanged = any(regions[name]["transposed"] for name in ends.values())
    rest = manifest["output"]["host"]
    return _NOTES.format(
        name=manifest["name"],
        board=manifest["board"],
        soc=SOC_NAME,
        module=manifest["module"],
        bits=8 * manifest["engine"]["bus"],
        id_low=int.from_bytes(design[:4], "little"),
        id_high=int.from_bytes(design[4:], "little"),
        size=image["bytes"],
        page=1 << PAGE,
        program=f"0x{image['program']:X}",
        instructions=image["instructions"],
        cycles=manifest["figures"]["latency_cycles"],
        tensors=tensors,
        exchanged=" Height and width are exchanged: what is called rows are the network's columns." if exchanged else "",
        rest=f" The network's last operators are left to the processor: {', '.join(rest)}." if rest else "",
        registers=table(Register),
    )


def _row(what: str, name: str, region: dict[str, Any]) -> str:
    height, width, channels = region["shape"]
    rows, pixels = (width, height) if region["transposed"] else (height, width)
    integer, less = region["type"], region["less"]
    byte = "int8" if not less else f"uint8 - {less} as int8"
    real = f"(byte - {integer['zero_point'] - less}) * {integer['scale']!r}".replace("- -", "+ ")
    cells = (f"0x{region['address']:X}", f"{what} `{name}`", f"{rows} × {pixels} × {channels}", region["row"], byte, real)
    return f"| {' | '.join(map(str, cells))} |"
