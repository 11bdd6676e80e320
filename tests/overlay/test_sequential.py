"""The sequential engine's Verilog, in Verilator, against the simulator of its instructions."""

import re
import subprocess
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from hwgen.demo import MODEL, SAMPLES
from hwgen.errors import HwgenError
from hwgen.hardware.verilator import verilate
from hwgen.hardware.verilog import convert
from hwgen.overlay.engine import Engine
from hwgen.overlay.isa import Fill
from hwgen.overlay.lower import compile_graph
from hwgen.overlay.small.engine import SequentialEngine
from hwgen.overlay.small.sequencer import AFTER
from hwgen.overlay.small.timing import BYTE, cycles
from hwgen.overlay.small.timing import WORD as FETCH
from hwgen.overlay.small.words import WORD, Job, Kind, Loop, Way, image, job, words
from tests.overlay.networks import case, machine, output, stored
from tests.overlay.programs import KINDS, Program, Writer, random_program

ENGINE = Engine(
    rows=1, columns=4, taps=1, lanes=1, bus=4, digit=16, scratchpad=2048, weights=256, sums=128, scales=256, sequential=True
)  # fmt: skip
OUTPUTS = 3 << 14  #: bytes of external memory that are looked at: the program is behind them
PROGRAMS, LENGTH = 12, 10  #: of each kind, and of instructions in each
TOP = """module top (
  input clk, rst, i_valid, o_ready, input [7:0] i_payload, output i_ready, o_valid, output [7:0] o_payload
);
  engine engine (
    .clk(clk), .rst(rst), .i__payload(i_payload), .i__valid(i_valid), .i__ready(i_ready),
    .o__payload(o_payload), .o__valid(o_valid), .o__ready(o_ready)
  );
endmodule
"""


@cache
def model() -> Path:
    sources = {"engine.v": convert(SequentialEngine(ENGINE), "engine"), "top.v": TOP}
    return verilate(sources, "top", driver=Path(__file__).with_name("sequential.cpp"))


def run(programs: list[tuple[list[Job], np.ndarray]], folder: Path, seed: int = 0) -> list[np.ndarray]:
    """What is in external memory after each program; that its first byte comes out when predicted, unless there are pauses."""
    names, predicted = [], []
    for k, (jobs, before) in enumerate(programs):
        out = Job(kind=Kind.OUTPUT, loops=(Loop(count=1), Loop(count=OUTPUTS, a=1)))
        name = folder / f"image{k}"
        name.write_bytes(image([*jobs, out, Job(kind=Kind.END)], np.resize(before, OUTPUTS)))
        names.append(name)
        # After the image's last byte: what follows a Boot, the word that leads to the program, all until the first byte.
        predicted.append(AFTER + FETCH + sum(cycles([*jobs, out])) - AFTER - BYTE * OUTPUTS + BYTE)
    command = [model(), str(seed), str(OUTPUTS), *names, "+verilator+rand+reset+2", f"+verilator+seed+{seed + 1}"]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert seed or [int(line) for line in said.split()] == predicted
    return [np.fromfile(f"{name}.out", np.uint8) for name in names]


def check(programs: list[Program], folder: Path, seed: int = 0) -> None:
    made = run([([job(i, ENGINE) for i in p.instructions[:-1]], p.before) for p in programs], folder, seed)
    for k, (program, after) in enumerate(zip(programs, made, strict=True)):
        wrong = np.flatnonzero(after[: program.after.size] != program.after)
        assert not len(wrong), (k, wrong[:10], after[wrong[:10]], program.after[wrong[:10]])


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "softmax"])
def test_random_programs(kind, tmp_path):
    """Instructions of one kind with any fields, and of all kinds."""
    check([random_program(ENGINE, kind, seed, LENGTH * (2 if kind == "all" else 1)) for seed in range(PROGRAMS)], tmp_path)


@pytest.mark.parametrize("seed", [1, 2])
def test_pauses(seed, tmp_path):
    """Of who brings the image, and who takes what comes out."""
    check([random_program(ENGINE, "all", seed, LENGTH)], tmp_path, seed)


def test_large_sums(tmp_path):
    """Up to the ends of 32 bits and around; requantised with multipliers of all sizes."""
    writer = Writer(ENGINE, 5)
    writer.large_sums(16)
    check([writer.finished()], tmp_path)


def test_ties(tmp_path):
    """What float32 rounds to halves of integers, and what it does not by the last bit."""
    programs = []
    for seed in range(8):
        writer = Writer(ENGINE, seed)
        writer.ties(150)
        programs.append(writer.finished())
    check(programs, tmp_path)


def test_digits(tmp_path):
    """A network, three frames."""
    networks = [case(MODEL, SAMPLES, frame) for frame in range(3)]
    compiled = compile_graph(networks[0].graph, ENGINE)
    machines = [machine(compiled, network) for network in networks]
    jobs = [job(i, ENGINE) for i in compiled.program[:-1]]
    size = compiled.external.size
    made = run([(jobs, m.external) for m in machines], tmp_path)
    for m, after, network in zip(machines, made, networks, strict=True):
        m.external = after[:size]
        assert (output(m, compiled, network) == stored(network, network.graph.output)).all()


def test_words():
    """What is in a register is not written again; a program begins without knowing what is there."""
    fill = job(Fill(value=3, local=5, size=7, rows=2, local_step=9), ENGINE)
    other = job(Fill(value=3, local=6, size=7, rows=2, local_step=9), ENGINE)
    first, second, third, last = words([fill, fill, other, Job(kind=Kind.END)], 100)
    registers = fill.registers()
    assert len(first) == 3 + len(registers)  # three more for a Multiply
    assert registers[Way.T, 1] == 1
    assert registers[Way.T, 2] == 9 - 6  # less what the loop within has added
    assert [WORD.from_bits(w).go for w in first] == [0] * (len(first) - 1) + [1]
    assert len(second) == 1
    assert [WORD.from_bits(w).value for w in third] == [6]
    assert [(WORD.from_bits(w).kind, WORD.from_bits(w).value) for w in last] == [(Kind.END, 100)]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rows": 2}, "rows must be 1 where instructions follow each other, not 2"),
        ({"columns": 5}, "columns must be 4 where instructions follow each other, not 5"),
        ({"digit": 8}, "digit must be 16 where instructions follow each other, not 8"),
        ({"scratchpad": 1 << 17}, "scratchpad must be at most 65536 bytes (SPRAM), not 131072"),
    ],
)
def test_errors(change, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        replace(ENGINE, **change)


def test_too_many_rounds():
    with pytest.raises(ValueError, match=r"^FILL: a count must be in 1\.\.65536, not 65537$"):
        job(Fill(size=65537), ENGINE)


def test_no_room():
    """Says how much there is."""
    message = "constants and tensors take 65536 bytes of external memory and the program 20, and there are 65536; "
    with pytest.raises(HwgenError, match=f"^{re.escape(message)}choose a larger board$"):
        image([Job(kind=Kind.END)], np.zeros(1 << 16, np.uint8))
