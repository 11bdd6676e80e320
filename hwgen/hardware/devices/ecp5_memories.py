"""ECP5: contents of block RAMs in a finished configuration."""

import re
from collections.abc import Sequence

from ..placeholders import Rom

__all__ = ["fill_memories"]

SHAPES = ((512, 36), (1024, 18), (2048, 9), (4096, 4), (8192, 2), (16384, 1))  #: words, bits of a block RAM
_SECTION = re.compile(r"(\.bram_init \d+\n)((?:[0-9a-f ]+\n)+)")
Block = tuple[int, ...]  #: 2048 words of 9 bits, as the configuration has them


def fill_memories(configuration: str, roms: Sequence[Rom]) -> str:
    """``configuration`` (Project Trellis's text) with the words of ``roms`` in place of their placeholders.

    A memory lies in block RAMs of one shape; they are found by their placeholders, which
    are pseudo-random. Proven by reading it back: every other block RAM is as it was.

    Raises
    ------
    RuntimeError
        If a memory's placeholders are not there.
    """
    wanted: dict[Block, Block] = {}
    present = {_block(words) for _, words in _SECTION.findall(configuration)}
    for rom in roms:
        for shape in SHAPES:
            old = tiles(rom.placeholder, rom.bits, *shape)
            if set(old) <= present:
                wanted |= dict(zip(old, tiles(rom.words, rom.bits, *shape), strict=True))
                break
        else:
            raise RuntimeError(f"memory {rom.memory} of module {rom.module} is not in the configuration")
    filled = _SECTION.sub(lambda m: m[1] + _text(wanted[b]) if (b := _block(m[2])) in wanted else m[0], configuration)
    before, after = ([_block(words) for _, words in _SECTION.findall(text)] for text in (configuration, filled))
    if after != [wanted.get(block, block) for block in before] or _SECTION.sub("", filled) != _SECTION.sub("", configuration):
        raise RuntimeError("the configuration read back must have the new contents, and does not")
    return filled


def tiles(words: Sequence[int], bits: int, depth: int, width: int) -> list[Block]:
    """The block RAMs, of ``depth`` words of ``width`` bits each, of a memory of ``words`` of ``bits`` bits.

    Yosys puts banks of ``depth`` words side by side, the bits of one behind those of another, and cuts into columns.
    """
    banks = -(-len(words) // depth)
    rows = [
        sum(word << bank * bits for bank, word in enumerate(words[address::depth])) for address in range(min(depth, len(words)))
    ]
    return [_tile([row >> low & (1 << width) - 1 for row in rows], width) for low in range(0, banks * bits, width)]


def _tile(words: list[int], width: int) -> Block:
    """Words of 9 bits; narrower ones use 8 of these."""
    block = [0] * 2048
    for address, word in enumerate(words):
        if width >= 9:
            for k in range(width // 9):
                block[address * (width // 9) + k] = word >> 9 * k & 0x1FF
        else:
            block[address * width // 8] |= word << address * width % 8
    return tuple(block)


def _block(text: str) -> Block:
    return tuple(int(word, 16) for word in text.split())


def _text(block: Block) -> str:
    rows = (block[k : k + 8] for k in range(0, len(block), 8))
    return "".join(" ".join(f"{word:03x}" for word in row) + "\n" for row in rows)
