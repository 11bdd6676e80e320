"""Block memories with placeholder contents: what changes in the text, and what does not."""

import re

import numpy as np
import pytest
from amaranth import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import Out

from hwgen.hardware.placeholders import with_placeholders
from hwgen.hardware.verilog import convert

TABLES = {"wide": (70, "block"), "narrow": (1, "block"), "logic": (8, "logic")}
DEPTH = 40


def words(name):
    bits, _ = TABLES[name]
    random = np.random.default_rng(len(name))
    return [int.from_bytes(random.bytes(9), "little") & (1 << bits) - 1 for _ in range(DEPTH)]


class Tables(wiring.Component):
    """A counter that reads a memory of each kind; one that is written, too."""

    o: Out(70 + 1 + 8 + 8)

    def elaborate(self, platform):
        m, at, low = Module(), Signal(range(DEPTH)), 0
        m.d.sync += at.eq(at + 1)
        written = m.submodules.written = Memory(shape=8, depth=DEPTH, init=[5] * DEPTH, attrs={"ram_style": "block"})
        port = written.write_port()
        m.d.comb += [port.en.eq(1), port.addr.eq(at), port.data.eq(at)]
        for name, (bits, style) in (TABLES | {"written": (8, "")}).items():
            rom = written
            if name in TABLES:
                rom = m.submodules[name] = Memory(shape=bits, depth=DEPTH, init=words(name), attrs={"rom_style": style})
            read = rom.read_port()
            m.d.comb += [read.addr.eq(at), self.o[low : low + bits].eq(read.data)]
            low += bits
        return m


@pytest.fixture(scope="module")
def text():
    return convert(Tables(), "tables")


def test_only_words_of_block_roms_change(text):
    changed, roms = with_placeholders(text)
    assert {(r.module, r.memory, r.bits, r.words) for r in roms} == {
        ("tables", "wide", 70, tuple(words("wide"))),
        ("tables", "narrow", 1, tuple(words("narrow"))),
    }
    for before, after in zip(text.split("\n"), changed.split("\n"), strict=True):
        if before != after:
            assert before.partition("'h")[0] == after.partition("'h")[0]
            assert re.match(r"    (wide|narrow)", before)
    for rom in roms:
        assert len(rom.placeholder) == DEPTH
        assert all(0 <= w < 1 << rom.bits for w in rom.placeholder)
        found = re.findall(rf"    {rom.memory}\[\d+\] = \d+'h([0-9a-f]+);", changed)
        assert tuple(int(w, 16) for w in found) == rom.placeholder
    columns = {tuple(w >> k & 1 for w in rom.placeholder) for rom in roms for k in range(rom.bits)}
    assert len(columns) == 71  # no two are equal
    assert all(0 < sum(column) < DEPTH for column in columns)  # none is constant


def test_it_depends_on_names_and_sizes_alone(text):
    changed, roms = with_placeholders(text)
    again, same = with_placeholders(changed)
    assert again == changed
    assert [r.words for r in same] == [r.placeholder for r in roms]


def test_other_text_is_refused(text):
    lines = text.split("\n")
    at = lines.index(next(line for line in lines if "70'h" in line and "[3]" in line))
    memory = lines[at].split("[")[0].strip()
    message = rf"memory {memory} of module tables must have 40 words of 70 bits, line {at + 1}$"
    with pytest.raises(ValueError, match=message):
        with_placeholders("\n".join(lines[:at] + lines[at + 1 :]))
    start = lines.index('  (* rom_style = "block" *)')
    with pytest.raises(
        ValueError, match=rf"module tables must declare and fill a memory of rom_style block, line {start + 2}$"
    ):
        with_placeholders("\n".join(lines[: start + 1]))
