"""Softmax between layers: exact in both simulations, in the cycles predicted."""

from dataclasses import replace

import numpy as np
import onnx
import pytest

from hwgen import flow
from hwgen.errors import HwgenError
from hwgen.overlay.clock import spans
from hwgen.overlay.isa import Softmax
from hwgen.overlay.lower import compile_graph
from hwgen.overlay.simulation import simulate
from hwgen.overlay.timing import MemoryTiming
from tests.attention import Attention, build
from tests.frontend.builder import Model
from tests.overlay.networks import Case, machine, of
from tests.overlay.test_lower import check
from tests.overlay.test_operators import ENGINE, exact

PLAIN = replace(ENGINE, softmax=True)
ENGINES = {
    "4 lanes": PLAIN,
    "one lane": replace(PLAIN, lanes=1),
    "more lanes than vectors": replace(PLAIN, lanes=16, bus=8),
    "few columns": replace(PLAIN, columns=3, lanes=8),
}
UNSIGNED = {"dtype": np.uint8, "zeros": (9, -7, 5, 20, -30)}
ATTENTIONS = {
    "a head": Attention(rows=7, values=5, function="Softmax"),
    "heads": Attention(rows=9, heads=3, depth=5, values=4, function="Softmax"),
    "a block": Attention(rows=6, heads=2, values=5, back=True, function="Softmax", scales=(0.05, 0.05, 0.02, 0.05, 0.1)),
    "unsigned": Attention(rows=5, heads=2, values=3, function="Softmax", **UNSIGNED),
}


def model_of(channels: int, size: tuple[int, int], dtype: type = np.int8, scale: float = 0.1) -> onnx.ModelProto:
    """Softmax of each pixel's channels, between convolutions."""
    m = Model(dtype)
    zero = 0 if dtype == np.int8 else 128

    def conv(x: str, before: int, after: int) -> str:
        return m.op("Conv", x, m.weights((after, before, 3, 3), seed=after), pads=[1, 1, 1, 1])

    x = m.dq(m.q(conv(m.dq("x"), 3, channels), scale, zero + 9), scale, zero + 9)
    x = m.dq(m.q(m.op("Softmax", x, axis=1), 1 / 256, zero - 128), 1 / 256, zero - 128)
    return m.build((1, 3, *size), m.q(conv(x, channels, 4), 0.02, zero + 1))


def image(channels: int = 5, size: tuple[int, int] = (3, 6), dtype: type = np.int8, scale: float = 0.1) -> Case:
    return of(model_of(channels, size, dtype, scale))


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", ATTENTIONS)
def test_attention(name, engine):
    check(ENGINES[engine], of(build(ATTENTIONS[name])))


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", ["heads", "unsigned"])
def test_attention_in_verilog(name, engine):
    exact(ENGINES[engine], of(build(ATTENTIONS[name])))


@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
@pytest.mark.parametrize("channels", [3, 4, 13])
def test_images(channels, dtype):
    exact(PLAIN, image(channels, dtype=dtype))


@pytest.mark.parametrize("scale", [1e-4, 0.01, 0.6])
def test_flat_and_steep(scale):
    exact(PLAIN, image(11, scale=scale))


def test_in_bands():
    """Of a tensor that the scratchpad does not hold."""
    case = image(40, (20, 20))
    compiled = check(replace(PLAIN, scratchpad=1 << 13, sums=16), case)
    assert sum(isinstance(i, Softmax) for i in compiled.program) > 1


@pytest.mark.parametrize("lanes", [1, 4, 8, 16])
def test_cycles(lanes):
    """To the cycle: of several instructions each one begins when the one before has ended."""
    engine, memory = replace(PLAIN, lanes=lanes), MemoryTiming()
    case = image(13, (11, 9))
    compiled = compile_graph(case.graph, engine, memory=memory)
    run = simulate(engine, compiled.program, machine(compiled, case).external, memory)
    numbers = [n for n, i in enumerate(compiled.program) if isinstance(i, Softmax)]
    ends = run.ends_of(compiled.program)
    predicted = spans(compiled.program, engine, memory)
    assert len(numbers) > 2
    assert [ends[n] - ends[numbers[0]] for n in numbers] == [predicted[n][1] - predicted[numbers[0]][1] for n in numbers]


@pytest.mark.parametrize("style", ["dataflow", "overlay"])
def test_built(style, tmp_path):
    """From the model's file on, with the hardware that is chosen."""
    path = tmp_path / "image.onnx"
    onnx.save(model_of(6, (4, 5)), path)
    flow.build(path, "ulx3s-85f", tmp_path / "built", style=style)
    run = flow.simulate(tmp_path / "built", limit=2)
    assert (run.mismatches, run.frames) == (0, 2)


def test_engines_without():
    with pytest.raises(HwgenError, match=r"^softmax0: the engine has no Softmax; choose another board, or use "):
        compile_graph(image().graph, ENGINE)
