"""What hardware costs: cycles and resources."""

from dataclasses import dataclass, fields

__all__ = ["BLOCKS_4K", "BLOCKS_18K", "Cost", "Memories", "Resources"]


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


@dataclass(frozen=True, kw_only=True)
class Memories:
    """What a device makes memories of.

    Parameters
    ----------
    shapes
        Words and bits that a block RAM can have.
    in_luts
        Whether look-up tables can be written (ECP5 DPR16X4: 16 words of 4 bits take three).
    """

    shapes: tuple[tuple[int, int], ...]
    in_luts: bool

    def blocks(self, depth: int, bits: int) -> int:
        """Block RAMs that a memory of ``depth`` words of ``bits`` bits takes: the cheapest shape."""
        return min(-(-depth // words) * -(-bits // width) for words, width in self.shapes)

    def small(self, depth: int, bits: int) -> Resources:
        """A memory of few words, as yosys makes it: of look-up tables; else, if it pays for the block RAMs, of these."""
        if self.in_luts:
            blocks = -(-depth // 16)
            return Resources(lut=blocks * -(-bits // 4) * 3 + (bits * blocks // 2 if blocks > 1 else 0))
        blocks, size = self.blocks(depth, bits), depth * bits
        return Resources(bram=blocks) if size > 64 * blocks else Resources(lut=bits * (depth // 2) + depth, ff=size)


#: ECP5 (DP16KD), Gowin (BSRAM), Xilinx (RAMB18).
BLOCKS_18K = Memories(shapes=((512, 36), (1024, 18), (2048, 9), (4096, 4), (8192, 2), (16384, 1)), in_luts=True)
#: iCE40 (SB_RAM40_4K).
BLOCKS_4K = Memories(shapes=((256, 16), (512, 8), (1024, 4), (2048, 2)), in_luts=False)
