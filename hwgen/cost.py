"""What hardware costs: cycles and resources."""

from dataclasses import dataclass, fields

import numpy as np

__all__ = ["BLOCKS_4K", "BLOCKS_18K", "Cost", "Memories", "Resources", "distinct", "even", "logic_memory"]


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


BYPASS = 24  #: bits of multiplexers that weigh as much as the logic around a block RAM that is read while it is written


def even(bits: int) -> int:
    """LUT4 of an adder of so many bits: a carry cell has two."""
    return bits + bits % 2


def distinct(columns: int, depth: int) -> int:
    """How many of ``columns`` random columns of ``depth`` bits differ and are not constant, as expected.

    Of a small table in logic, synthesis makes equal columns once.
    """
    kinds = 2 ** min(depth, 60) - 2
    return round(kinds * -np.expm1(columns * np.log1p(-1 / kinds))) if kinds > 2 else min(columns, kinds)


def logic_memory(columns: int, depth: int) -> int:
    """LUT4 of a table in logic: each holds 16 × 1 bit; beyond that a multiplexer chooses."""
    return columns if depth <= 16 else -(-columns * (depth + 16) // 16)


@dataclass(frozen=True, kw_only=True)
class Memories:
    """What a device makes memories of, and how yosys (``memory_libmap``) chooses.

    Parameters
    ----------
    shapes
        Words and bits that a block RAM can have.
    in_luts
        Whether look-up tables can be written (ECP5 DPR16X4: 16 words of 4 bits take three).
    unit
        Bits that are written together, at most.
    shared
        Widest shape with two ports to read; beyond it one is for writing.
    weight
        What a block RAM weighs, in bits of multiplexers of two words.
    """

    shapes: tuple[tuple[int, int], ...]
    in_luts: bool
    unit: int
    shared: int
    weight: int

    def _geometry(self, depth: int, bits: int, written: bool, reads: int) -> tuple[int, int]:
        """Blocks and banks of the shape that weighs least, the narrowest of these.

        A bank is as many words as a block has. Banks share blocks: the bits of one follow those of another. Where there is
        more than one, multiplexers choose the bank of each word read.
        """
        best = (0, 0, 0)
        for words, width in sorted(self.shapes, reverse=True):
            banks, unit = -(-depth // words), min(self.unit, width) if written else 1
            copies = reads if written or width > self.shared else -(-reads // 2)
            blocks = -(-banks * -(-bits // unit) * unit // width) * copies
            weight = self.weight * blocks + (banks - 1) * bits * reads + (banks if written and banks > 1 else 0)
            if not best[1] or weight < best[0]:
                best = (weight, blocks, banks)
        return best[1:]

    def blocks(self, depth: int, bits: int, *, written: bool = False, reads: int = 1) -> int:
        """Block RAMs that a memory of ``depth`` words of ``bits`` bits takes.

        Parameters
        ----------
        written
            Whether it has a port to write.
        reads
            Ports to read.
        """
        return self._geometry(depth, bits, written, reads)[0]

    def large(self, depth: int, bits: int, *, written: bool = False, reads: int = 1) -> Resources:
        """A memory in block RAM, and the multiplexers of its banks with registers for the upper bits of the address."""
        blocks, banks = self._geometry(depth, bits, written, reads)
        if banks == 1:
            return Resources(bram=blocks)
        lut = (reads * bits << (banks - 1).bit_length() - 1) + (banks if written else 0)
        return Resources(lut=lut, ff=reads * (banks - 1).bit_length(), bram=blocks)

    def small(self, depth: int, bits: int) -> Resources:
        """A memory of few words, as yosys makes it: of look-up tables; else, if it pays for the block RAMs, of these.

        Of look-up tables: a bank for each 16 words, a multiplexer to read, a LUT for each bank to say whether it is written,
        and a register behind, as its words are read at once.
        """
        if self.in_luts:
            banks = -(-depth // 16)
            return Resources(lut=banks * -(-bits // 4) * 3 + (bits * -(-banks // 2) + banks if banks > 1 else 0), ff=bits)
        blocks, size = self.blocks(depth, bits), depth * bits
        return Resources(bram=blocks) if size > 64 * blocks else Resources(lut=bits * (depth // 2) + depth, ff=size + bits)

    def chosen(self, depth: int, bits: int, *, bypass: bool = True) -> Resources:
        """A memory with a port to write and one to read, for which yosys chooses: look-up tables where these weigh less.

        Parameters
        ----------
        bypass
            Whether what is read may be what is written at the same time; block RAM needs logic for it, which weighs ``BYPASS``.
        """
        banks = -(-depth // 16)
        weight = 8 * banks * -(-bits // 4) + (banks - 1) * bits + banks
        if self.in_luts and weight > self.weight * self.blocks(depth, bits, written=True) + (BYPASS if bypass else 0):
            return self.large(depth, bits, written=True)
        return self.small(depth, bits)


#: ECP5 (DP16KD), Gowin (BSRAM), Xilinx (RAMB18).
BLOCKS_18K = Memories(
    shapes=((512, 36), (1024, 18), (2048, 9), (4096, 4), (8192, 2), (16384, 1)), in_luts=True, unit=9, shared=18, weight=256
)
#: iCE40 (SB_RAM40_4K).
BLOCKS_4K = Memories(shapes=((256, 16), (512, 8), (1024, 4), (2048, 2)), in_luts=False, unit=1, shared=0, weight=128)
