"""When instructions are carried out: as predicted, in the engine's Verilog."""

import pytest

from hwgen.demo import MODEL, SAMPLES
from hwgen.overlay.clock import predict
from hwgen.overlay.compiled import layers
from hwgen.overlay.engine import Engine
from hwgen.overlay.isa import End, Fill, Multiply, Unit
from hwgen.overlay.lower import compile_graph
from hwgen.overlay.simulation import simulate
from hwgen.overlay.timing import MemoryTiming
from tests.overlay.networks import case, machine
from tests.shared_models import MODELS, needs_models

SMALL = Engine(rows=5, columns=3, lanes=4, bus=4, scratchpad=1 << 13, weights=1 << 11, sums=256, scales=256)
LARGE = Engine(rows=12, columns=13, lanes=16, digit=16, scratchpad=1 << 16, weights=1 << 14, sums=2048, scales=2048)


def check(engine, network, memory):
    """1 % of the whole and of each layer, or four cycles where it is short."""
    compiled = compile_graph(network.graph, engine, memory=memory)
    run = simulate(engine, compiled.program, machine(compiled, network).external, memory)
    predicted = predict(compiled.program, engine, memory)
    assert predicted[-1] + 1 == pytest.approx(run.cycles, rel=0.01)
    simulated = layers(network.graph, compiled, run.ends_of(compiled.program))
    for was, layer in zip(layers(network.graph, compiled, predicted), simulated, strict=True):
        assert was.end - was.start == pytest.approx(layer.end - layer.start, rel=0.01, abs=4)


@pytest.mark.parametrize("memory", [MemoryTiming(), MemoryTiming(latency=60)], ids=str)
def test_digits(memory):
    check(SMALL, case(MODEL, SAMPLES), memory)


@needs_models
@pytest.mark.slow
@pytest.mark.parametrize("name", ["kws", "ad"])
def test_networks(name):
    """In ad loads, of weights and instructions, are all that counts."""
    folder = MODELS / name
    check(LARGE, case(folder / f"{name}_int8_qdq_nchw.onnx", folder / "samples.npz"), MemoryTiming())


def test_a_token_that_nobody_gives():
    program = [Fill(size=4), Multiply(wait=1 << Unit.LOAD), End()]
    with pytest.raises(ValueError, match=r"^instruction 1 waits for a token that no unit gives: Multiply\(wait=1, "):
        predict(program, SMALL, MemoryTiming())
    assert len(predict([Fill(size=4, signal=1 << Unit.MULTIPLY), *program[1:]], SMALL, MemoryTiming())) == 3


def test_errors():
    with pytest.raises(ValueError, match=r"^latency must be positive, not 0$"):
        MemoryTiming(latency=0)
    with pytest.raises(ValueError, match=r"^silent must be in 0\.\.3 \(below the period\), not 4$"):
        MemoryTiming(silent=4, period=4)
