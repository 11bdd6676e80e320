"""Block memories that are only read, filled with placeholders for synthesis.

Synthesis drops what contents make superfluous: constant columns, equal columns, whatever follows from them. A memory whose
contents are to be replaced in the finished configuration (other weights, the same network) must keep all of it; and its
block RAMs must be found there. So it is synthesised with pseudo-random words, and gets its own ones afterwards.
"""

import hashlib
import re
from dataclasses import dataclass, field
from itertools import zip_longest

__all__ = ["Rom", "differing_module", "with_placeholders"]

_MODULE = re.compile(r"module (\w+) \(")
_STYLE = '  (* rom_style = "block" *)'
_DECLARATION = re.compile(r"  reg (?:\[(\d+):0\] )?(\w+) \[(\d+):0\];")
_WORD = re.compile(r"    (\w+)\[(\d+)\] = (\d+)'h([0-9a-f]+);")


@dataclass(frozen=True, kw_only=True)
class Rom:
    """A memory that is only read.

    Parameters
    ----------
    module, memory
        Names in the Verilog text.
    bits
        Of a word.
    words
        What it holds, from address 0 on.
    placeholder
        What it is synthesised with.
    """

    module: str
    memory: str
    bits: int
    words: tuple[int, ...] = field(repr=False)
    placeholder: tuple[int, ...] = field(repr=False)


def with_placeholders(verilog: str) -> tuple[str, tuple[Rom, ...]]:
    """``verilog`` with pseudo-random words in each memory of ``rom_style = "block"``, and these memories in order.

    The words depend on the names of module and memory and on its size, on nothing else. Memories of other styles, and those
    that are written, stay as they are.

    Parameters
    ----------
    verilog
        As :func:`hwgen.hardware.verilog.convert` writes it.

    Raises
    ------
    ValueError
        If it is not: a memory of that style without a declaration and all its words behind.
    """
    lines = verilog.split("\n")
    roms = []
    module = ""
    for k, line in enumerate(lines):
        if start := _MODULE.match(line):
            module = start[1]
        elif line == _STYLE:
            roms.append(_replace(lines, k + 1, module))
    return "\n".join(lines), tuple(roms)


def differing_module(verilog: str, other: str) -> str:
    """The first module that the texts have not in common but for the contents of block memories; empty where there is none."""
    texts = (with_placeholders(text)[0].split("endmodule\n") for text in (verilog, other))
    for mine, theirs in zip_longest(*texts, fillvalue=""):
        if mine != theirs:
            found = _MODULE.search(mine) or _MODULE.search(theirs)
            return found[1] if found else "the header"
    return ""


def _replace(lines: list[str], at: int, module: str) -> Rom:
    """Replace in ``lines`` the words of the memory declared at index ``at``."""
    while at < len(lines) and lines[at].startswith("  (* "):  # other attributes
        at += 1
    declared = _DECLARATION.fullmatch(lines[at]) if at < len(lines) else None
    if declared is None or lines[at + 1 : at + 2] != ["  initial begin"]:
        raise ValueError(f"module {module} must declare and fill a memory of rom_style block, line {at + 1}")
    bits, memory, depth = int(declared[1] or 0) + 1, declared[2], int(declared[3]) + 1
    placeholder = _pseudo_random(f"{module}.{memory}", depth, bits)
    words = []
    for n, line in enumerate(lines[at + 2 : at + 2 + depth]):
        word = _WORD.fullmatch(line)
        if word is None or (word[1], int(word[2]), int(word[3])) != (memory, n, bits):
            raise ValueError(f"memory {memory} of module {module} must have {depth} words of {bits} bits, line {at + 3 + n}")
        words.append(int(word[4], 16))
        lines[at + 2 + n] = f"    {memory}[{n}] = {bits}'h{placeholder[n]:0{-(-bits // 4)}x};"
    return Rom(module=module, memory=memory, bits=bits, words=tuple(words), placeholder=placeholder)


def _pseudo_random(name: str, depth: int, bits: int) -> tuple[int, ...]:
    """``depth`` words of ``bits`` bits that ``name`` determines: SHAKE128 (FIPS 202)."""
    size = -(-bits // 8)
    stream = hashlib.shake_128(name.encode()).digest(depth * size)
    words = (int.from_bytes(stream[k * size : (k + 1) * size], "little") for k in range(depth))
    return tuple(word & (1 << bits) - 1 for word in words)
