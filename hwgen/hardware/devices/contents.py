"""Contents of block RAMs in a finished configuration."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..placeholders import Rom

__all__ = ["ECP5", "ICE40", "Format", "fill_memories"]

Block = tuple[int, ...]  #: a block RAM's contents, as the configuration writes them


@dataclass(frozen=True, kw_only=True)
class Format:
    """How a family's configuration, a text, holds block RAMs.

    Parameters
    ----------
    shapes
        Words and bits that a block RAM can have.
    section
        What finds a block RAM: its head, its contents.
    digits, line
        Hexadecimal ones of a number, numbers of a line.
    block
        The contents of a block RAM whose words have so many bits.
    """

    shapes: tuple[tuple[int, int], ...]
    section: re.Pattern[str]
    digits: int
    line: int
    block: Callable[[list[int], int], Block]

    def read(self, text: str) -> Block:
        return tuple(int(number, 16) for number in text.split())

    def write(self, block: Block) -> str:
        lines = (block[k : k + self.line] for k in range(0, len(block), self.line))
        return "".join(" ".join(f"{number:0{self.digits}x}" for number in line) + "\n" for line in lines)

    def blocks(self, words: Sequence[int], bits: int, depth: int, width: int) -> list[Block]:
        """The block RAMs, of ``depth`` words of ``width`` bits each, of a memory of ``words`` of ``bits`` bits.

        Yosys puts banks of ``depth`` words side by side, the bits of one behind those of another, and cuts into columns.
        """
        banks = -(-len(words) // depth)
        rows = [sum(w << bank * bits for bank, w in enumerate(words[n::depth])) for n in range(min(depth, len(words)))]
        mask = (1 << width) - 1
        return [self.block([row >> low & mask for row in rows], width) for low in range(0, banks * bits, width)]


def fill_memories(form: Format, configuration: str, roms: Sequence[Rom]) -> str:
    """``configuration`` with the words of ``roms`` in place of their placeholders.

    A memory lies in block RAMs of one shape; they are found by their placeholders, which are pseudo-random. Proven by reading
    it back: every other block RAM is as it was.

    Raises
    ------
    RuntimeError
        If a memory's placeholders are not there.
    """
    wanted: dict[Block, Block] = {}
    before = [form.read(body) for _, body in form.section.findall(configuration)]
    present = set(before)
    for rom in roms:
        for shape in form.shapes:
            old = form.blocks(rom.placeholder, rom.bits, *shape)
            if set(old) <= present:
                wanted |= dict(zip(old, form.blocks(rom.words, rom.bits, *shape), strict=True))
                break
        else:
            raise RuntimeError(f"memory {rom.memory} of module {rom.module} is not in the configuration")

    def filled(match: re.Match[str]) -> str:
        block = form.read(match[2])
        return match[1] + form.write(wanted[block]) if block in wanted else match[0]

    result = form.section.sub(filled, configuration)
    after = [form.read(body) for _, body in form.section.findall(result)]
    same_else = form.section.sub("", result) == form.section.sub("", configuration)
    if not same_else or after != [wanted.get(block, block) for block in before]:
        raise RuntimeError("the configuration read back must have the new contents, and does not")
    return result


def _ecp5(words: list[int], width: int) -> Block:
    """2048 words of 9 bits; narrower ones use 8 of these."""
    block = [0] * 2048
    for address, word in enumerate(words):
        if width >= 9:
            for k in range(width // 9):
                block[address * (width // 9) + k] = word >> 9 * k & 0x1FF
        else:
            block[address * width // 8] |= word << address * width % 8
    return tuple(block)


def _ice40(words: list[int], width: int) -> Block:
    """16 numbers of 256 bits: 256 rows of 16 bits, bit r of a row in place r read backwards (1 in place 8)."""
    block = [0] * 16
    for address, word in enumerate(words):
        row, first = divmod(address * width, 16)
        for k in range(width):
            place = int(f"{first + k:04b}"[::-1], 2)
            block[row // 16] |= (word >> k & 1) << 16 * (row % 16) + place
    return tuple(block)


#: Project Trellis; Lattice FPGA-TN-02204 has the shapes.
ECP5 = Format(
    shapes=((512, 36), (1024, 18), (2048, 9), (4096, 4), (8192, 2), (16384, 1)),
    section=re.compile(r"(\.bram_init \d+\n)((?:[0-9a-f ]+\n)+)"),
    digits=3,
    line=8,
    block=_ecp5,
)
#: Project IceStorm; Lattice FPGA-TN-02002 has the shapes.
ICE40 = Format(
    shapes=((256, 16), (512, 8), (1024, 4), (2048, 2)),
    section=re.compile(r"(\.ram_data \d+ \d+\n)((?:[0-9a-f]+\n)+)"),
    digits=64,
    line=1,
    block=_ice40,
)
