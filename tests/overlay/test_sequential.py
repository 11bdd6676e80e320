"""The sequential engine's Verilog, in Verilator, against the simulator of its instructions."""

import subprocess
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from hwgen.demo import MODEL, SAMPLES
from hwgen.hardware.verilator import verilate
from hwgen.hardware.verilog import convert
from hwgen.overlay.engine import Engine
from hwgen.overlay.lower import compile_graph
from hwgen.overlay.small.engine import SequentialEngine
from hwgen.overlay.small.sequencer import AFTER
from hwgen.overlay.small.timing import BYTE, MOVED, WORD, cycles
from hwgen.overlay.small.words import Job, Kind, Loop, image, job
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
        predicted.append(AFTER + WORD + sum(cycles([*jobs, out])) - AFTER - BYTE * OUTPUTS + MOVED + 1)
    command = [model(), str(seed), str(OUTPUTS), *names, "+verilator+rand+reset+2", f"+verilator+seed+{seed + 1}"]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert seed or [int(line) for line in said.split()] == predicted
    return [np.fromfile(f"{name}.out", np.uint8) for name in names]


def check(programs: list[Program], folder: Path, seed: int = 0) -> None:
    made = run([([job(i, ENGINE) for i in p.instructions[:-1]], p.before) for p in programs], folder, seed)
    for k, (program, after) in enumerate(zip(programs, made, strict=True)):
        wrong = np.flatnonzero(after[: program.after.size] != program.after)
        assert not len(wrong), (k, wrong[:10], after[wrong[:10]], program.after[wrong[:10]])


@pytest.mark.parametrize("kind", KINDS)
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
