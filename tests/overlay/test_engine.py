"""The engine's Verilog, in Verilator, against the simulator of its instructions, and whole networks against ONNX Runtime."""

import random
import re
from collections import Counter
from dataclasses import dataclass, replace

import numpy as np
import pytest

from hwgen.demo import MODEL, SAMPLES
from hwgen.errors import HwgenError
from hwgen.overlay.engine import Engine
from hwgen.overlay.isa import End, Fill, Instruction, Load, Multiply, Store, Unit
from hwgen.overlay.lower import compile_graph
from hwgen.overlay.simulation import simulate
from hwgen.overlay.timing import MemoryTiming, array_cycles
from hwgen.overlay.tokens import with_tokens
from tests.overlay.networks import case, machine, output, stored
from tests.overlay.programs import KINDS, Program, Writer, random_program
from tests.shared_models import MODELS, needs_models

SHAPES = {
    "4x4": Engine(rows=4, columns=4, lanes=2, taps=2, bus=8, scratchpad=2048, weights=512, sums=32, scales=64, softmax=True),
    "3x5": Engine(rows=3, columns=5, lanes=4, bus=4, soft_lanes=True, scratchpad=1000, weights=200, sums=16, scales=40),
    "9x1": Engine(rows=9, columns=1, lanes=1, taps=9, bus=4, scratchpad=528, weights=300, sums=2, scales=13, softmax=True),
    "1x4": Engine(
        rows=1,
        columns=4,
        lanes=4,
        digit=16,
        soft_lanes=True,
        bus=16,
        taps=1,
        scratchpad=1 << 14,
        weights=2048,
        sums=8192,
        scales=4096,
    ),
    "5x3": Engine(
        rows=5, columns=3, lanes=8, bus=32, digit=16, soft=7, scratchpad=2048, weights=500, sums=64, scales=64, softmax=True
    ),
}
EACH = [(shape, kind) for shape in SHAPES for kind in KINDS if kind != "softmax" or SHAPES[shape].softmax]
PROGRAMS, LENGTH = 12, 14  #: of each kind, and of instructions in each
LIMIT = 1 << 22  #: cycles, not to wait for ever


def memory_timing(seed: int) -> MemoryTiming:
    rng = random.Random(seed)
    period = rng.choice([0, 2, 3, 10, 60])
    return MemoryTiming(
        latency=rng.choice([1, 2, 10, rng.randint(1, 40)]), silent=rng.randrange(period) if period else 0, period=period,
        seed=rng.randrange(3) and rng.getrandbits(30),
    )  # fmt: skip


def check(engine: Engine, program: Program, memory: MemoryTiming) -> None:
    """The same external memory as in the simulator; each instruction carried out once, nothing read or written besides."""
    run = simulate(engine, program.instructions, program.before, memory, LIMIT)
    wrong = np.flatnonzero(run.external != program.after)
    assert not len(wrong), (memory, wrong[:10], run.external[wrong[:10]], program.after[wrong[:10]])
    kinds = Counter(i.unit for i in program.instructions)
    assert Counter(unit for unit, _ in run.ends) == kinds
    beats = sum(engine.padded(i.size) * i.rows for i in program.instructions if isinstance(i, Load))
    assert run.bytes_read == beats + 32 * len(program.instructions)
    assert run.bytes_written == sum(i.size * i.rows for i in program.instructions if isinstance(i, Store))


@pytest.mark.parametrize(("shape", "kind"), EACH)
def test_random_programs(shape, kind):
    """Instructions of one kind with any fields, and of all kinds."""
    for seed in range(PROGRAMS):
        program = random_program(SHAPES[shape], kind, seed, LENGTH * (3 if kind == "all" else 1))
        check(SHAPES[shape], program, memory_timing(seed))


@pytest.mark.slow
@pytest.mark.parametrize(("shape", "kind"), EACH)
def test_many_random_programs(shape, kind):
    for seed in range(1000, 1200):
        program = random_program(SHAPES[shape], kind, seed, seed % 60)
        check(SHAPES[shape], program, memory_timing(seed))


@pytest.mark.parametrize("shape", SHAPES)
def test_large_sums(shape):
    """Up to the ends of 32 bits and around; requantised with multipliers of all sizes."""
    writer = Writer(SHAPES[shape], 5)
    writer.large_sums(16)
    check(SHAPES[shape], writer.finished(), MemoryTiming())


@pytest.mark.parametrize("shape", SHAPES)
def test_ties(shape):
    """What float32 rounds to halves of integers, and what it does not by the last bit."""
    writer = Writer(SHAPES[shape], 6)
    writer.ties(1500)
    check(SHAPES[shape], writer.finished(), MemoryTiming())


@pytest.fixture(scope="module")
def digits():
    return case(MODEL, SAMPLES)


@pytest.mark.parametrize("shape", ["4x4", "1x4", "5x3"])
def test_digits(digits, shape):
    engine = SHAPES[shape]
    compiled = compile_graph(digits.graph, engine)
    made = machine(compiled, digits)
    before = made.external.copy()
    made.run(compiled.program)
    for seed in range(5):
        run = simulate(engine, compiled.program, before, memory_timing(seed), LIMIT)
        assert (run.external == made.external).all()
        made.external = run.external
        assert (output(made, compiled, digits) == stored(digits, digits.graph.output)).all()


@pytest.mark.slow
@needs_models
@pytest.mark.parametrize(("name", "rows", "columns", "most"), [("kws", 12, 13, 30_000), ("ic", 16, 16, 57_000)])
def test_networks(name, rows, columns, most):
    """Right with memory of any timing, and fast with one that is."""
    folder = MODELS / name
    network = case(folder / f"{name}_int8_qdq_nchw.onnx", folder / "samples.npz", frame=1)
    engine = Engine(
        rows=rows, columns=columns, lanes=16, digit=16, scratchpad=1 << 17, weights=1 << 12, sums=1024, scales=1024, bus=8
    )
    compiled = compile_graph(network.graph, engine)
    made = machine(compiled, network)
    before = made.external.copy()
    made.run(compiled.program)
    for seed in range(-1, 5):
        run = simulate(engine, compiled.program, before, MemoryTiming() if seed < 0 else memory_timing(seed), LIMIT)
        assert (run.external == made.external).all()
        assert seed >= 0 or run.cycles <= most
        made.external = run.external
        assert (output(made, compiled, network) == stored(network, network.graph.output)).all()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("depthwise", [0, 1])
def test_cycles_of_the_array(shape, depthwise):
    """As long as timing.array_cycles says, from one number of tiles to another."""
    engine = SHAPES[shape]
    for x_count, stride in ((1, 1), (3, 2), (4, 1), (7, 3), (11, 1)):
        if x_count > engine.sums:
            continue
        ends, wanted = [], []
        for tiles in (3, 9):
            i = Multiply(depthwise=depthwise, x_count=x_count, stride=stride, k1_count=tiles, first=1)
            program = with_tokens([i, Fill(size=1), End()], engine)
            run = simulate(engine, program, np.zeros(64, np.uint8), limit=LIMIT)
            ends += [cycle for unit, cycle in run.ends if unit == Unit.MULTIPLY]
            wanted.append(array_cycles(i, engine))
        assert ends[1] - ends[0] == wanted[1] - wanted[0], (x_count, stride)


# What goes wrong

ENGINE = replace(SHAPES["4x4"], softmax=False)
MEMORY = np.zeros(128, np.uint8)
FAR = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Unknown(Instruction):
    """An instruction that there is not."""

    opcode, unit = 8, Unit.STORE


@pytest.mark.parametrize("opcode", range(8, 16))
def test_unknown_instructions(opcode, monkeypatch):
    monkeypatch.setattr(Unknown, "opcode", opcode)
    refused([Fill(), Unknown(), End()], "an unknown instruction")


@pytest.mark.parametrize(
    ("program", "message"),
    [
        ([Load(external=FAR, size=40)], "a read of external memory"),
        ([Load(size=16), Load(external=FAR, size=512, place=1)], "a read of external memory"),
        ([Load(external=FAR), Store(size=8)], "a read of external memory"),
        ([Store(external=FAR, size=100)], "a write of external memory"),
        ([Store(size=8), Store(external=FAR - 8, size=1), Store(size=8)], "a write of external memory"),
        ([Store(size=8, rows=2, external_step=FAR)], "a write of external memory"),
        (
            [Load(external=FAR), Unknown(), Store(external=FAR)],
            "a read of external memory, a write of external memory, an unknown instruction",
        ),
    ],
    ids=str,
)
def test_errors_are_reported(program, message):
    """And the program goes on to its end."""
    refused([*program, End()], message)


def refused(program: list[Instruction], message: str) -> None:
    with pytest.raises(HwgenError, match=f"^the engine reports an error: {re.escape(message)}$"):
        simulate(ENGINE, with_tokens(program, ENGINE), MEMORY, MemoryTiming(silent=1, period=2), LIMIT)


@pytest.mark.parametrize(
    "program",
    [[Fill()], [Fill(wait=1 << Unit.STORE), End(wait=1)], [Fill(), End(wait=1)]],
    ids=["no End", "tokens in a circle", "a token that none gives"],
)
def test_a_program_that_does_not_end(program):
    message = "^the simulation of the overlay has failed: not done after 3000 cycles$"
    with pytest.raises(HwgenError, match=message):
        simulate(ENGINE, program, MEMORY, limit=3000)


def test_the_limit():
    program = with_tokens([Fill(size=64), Store(size=64), End()], ENGINE)
    done = simulate(ENGINE, program, MEMORY)
    assert simulate(ENGINE, program, MEMORY, limit=done.cycles + 8).cycles == done.cycles  # 8 cycles of reset
    with pytest.raises(HwgenError, match=f"not done after {done.cycles + 7} cycles$"):
        simulate(ENGINE, program, MEMORY, limit=done.cycles + 7)


def test_memory_timing():
    """Takes effect; what cannot be is refused."""
    program = with_tokens([Load(size=64, rows=2, external_step=64), Store(size=64), End()], ENGINE)
    ways = [MemoryTiming(latency=1), MemoryTiming(), MemoryTiming(silent=1, period=2), MemoryTiming(latency=40)]
    times = [simulate(ENGINE, program, MEMORY, way).cycles for way in ways]
    assert times == sorted(set(times))
    assert simulate(ENGINE, program, MEMORY, replace(ways[2], seed=1)).cycles not in times
    for wrong, message in (
        ({"latency": 0}, "latency must be positive, not 0"),
        ({"silent": 1}, "silent must be in 0..0 (below the period), not 1"),
        ({"silent": 5, "period": 5}, "silent must be in 0..4 (below the period), not 5"),
        ({"silent": -1, "period": 5}, "silent must be in 0..4 (below the period), not -1"),
    ):
        with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
            MemoryTiming(**wrong)
