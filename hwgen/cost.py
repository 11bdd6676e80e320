"""What hardware costs: cycles and resources."""

from dataclasses import dataclass, fields

__all__ = ["Cost", "Resources", "bram_blocks", "lut_memory"]


@dataclass(frozen=True, kw_only=True)
class Resources:
    """Resources of a device or of a design, in the units of a vendor's data sheet.

    Parameters
    ----------
    lut
        4-input look-up tables; a carry cell counts as two.
    ff
        Flip-flops.
    dsp
        Hard multipliers.
    bram
        Block RAMs.
    """

    lut: int = 0
    ff: int = 0
    dsp: int = 0
    bram: int = 0

    def __add__(self, other: "Resources") -> "Resources":
        return Resources(**{f.name: getattr(self, f.name) + getattr(other, f.name) for f in fields(self)})


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What one template costs for one frame.

    Parameters
    ----------
    cycles
        Initiation interval: cycles from one frame to the next when input is always there and output always taken.
        Exact; tested against simulation.
    resources
        Modelled; calibrated against synthesis.
    """

    cycles: int
    resources: Resources


def bram_blocks(depth: int, bits: int) -> int:
    """Block RAMs of 18 kbit (ECP5 DP16KD, Xilinx RAMB18) that a memory of ``depth`` words of ``bits`` bits takes.

    The cheapest of the shapes 512×36, 1024×18, 2048×9, 4096×4, 8192×2 and 16384×1.
    """
    shapes = ((512, 36), (1024, 18), (2048, 9), (4096, 4), (8192, 2), (16384, 1))
    return min(-(-depth // words) * -(-bits // width) for words, width in shapes)


def lut_memory(depth: int, bits: int) -> int:
    """LUT4 of a memory of ``depth`` words of ``bits`` bits in LUT RAM (ECP5 DPR16X4: 16 words of 4 bits, three LUTs)."""
    blocks = -(-depth // 16)
    return blocks * -(-bits // 4) * 3 + (bits * blocks // 2 if blocks > 1 else 0)
