"""Products of two activations, head by head: exact in both simulations, within the cycles predicted; what is refused."""

import random
import re
from dataclasses import replace

import numpy as np
import pytest

from hwgen import flow
from hwgen.errors import HwgenError
from hwgen.frontend import import_model
from hwgen.graph import MatMul
from hwgen.overlay.clock import predict
from hwgen.overlay.isa import Load, Multiply, Place, Pool, Unit
from hwgen.overlay.lower import compile_graph
from hwgen.overlay.simulation import simulate
from hwgen.overlay.timing import MemoryTiming
from tests.attention import Attention, build
from tests.frontend.builder import Model
from tests.overlay import graphs
from tests.overlay.networks import Case, machine, of, output, race, stored
from tests.overlay.test_lower import check
from tests.overlay.test_operators import ENGINE, exact

ENGINES = {
    "4x4": ENGINE,
    "several entries in a beat, and some left": replace(ENGINE, rows=5, columns=3, bus=16),
    "entries of several beats": replace(ENGINE, rows=6, columns=11, bus=8, scratchpad=1 << 15),
    "larger than the matrices": replace(ENGINE, rows=32, columns=32, bus=8, scratchpad=1 << 15),
    "one multiplier": replace(ENGINE, rows=1, columns=1, taps=1, lanes=1),
    "few weights and sums": replace(ENGINE, weights=9, sums=4),
}
CASES = {
    "scores": Attention(rows=5),
    "one row": Attention(rows=1, heads=2, depth=7, values=3),
    "several heads": Attention(rows=7, heads=3, depth=5),
    "values": Attention(rows=9, heads=2, depth=7, values=5),
    "unsigned": Attention(rows=6, heads=2, values=3, dtype=np.uint8, zeros=(9, -7, 5, 20, -30)),
    "unsigned scores from zero": Attention(rows=6, values=3, dtype=np.uint8, zeros=(-128, 0, -128, 0, 0), function="Relu"),
    "the least zero points": Attention(rows=9, heads=2, depth=7, values=5, zeros=(-128, -128, 7, -128, -90)),
    "the largest zero points": Attention(rows=5, depth=9, zeros=(127, 127, -3)),
    "of the first operand": Attention(rows=5, depth=9, zeros=(31, 0, -3)),
    "of the second operand": Attention(rows=5, depth=9, zeros=(0, -128, -3)),
    "in a block": Attention(rows=7, heads=3, values=5, back=True, zeros=(3, -5, 7, 100, -90)),
    "long sums": Attention(rows=3, depth=70, scales=(0.05, 0.05, 0.4)),
}


def network(attention: Attention) -> Case:
    return of(build(attention))


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", CASES)
def test_networks(name, engine):
    check(ENGINES[engine], network(CASES[name]))


@pytest.mark.parametrize("engine", list(ENGINES)[:2])
@pytest.mark.parametrize("name", ["several heads", "values", "the least zero points", "in a block"])
def test_in_verilog(name, engine):
    exact(ENGINES[engine], network(CASES[name]))


@pytest.mark.parametrize("memory", [MemoryTiming(), MemoryTiming(latency=60)], ids=str)
@pytest.mark.parametrize("name", ["several heads", "values", "in a block"])
def test_cycles(name, memory):
    """Within 2 %, not 1 % as elsewhere: a Store waits while copies take the scratchpad's port, here and there."""
    case = network(replace(CASES[name], rows=20, depth=16, channels=16))
    compiled = compile_graph(case.graph, ENGINE, memory=memory)
    run = simulate(ENGINE, compiled.program, machine(compiled, case).external, memory)
    assert predict(compiled.program, ENGINE, memory)[-1] + 1 == pytest.approx(run.cycles, rel=0.02)


@pytest.mark.parametrize("seed", range(3))
def test_random_networks(seed):
    rng = np.random.default_rng(seed)
    for _ in range(4):
        attention = Attention(
            rows=int(rng.integers(1, 12)), channels=int(rng.integers(1, 9)), heads=int(rng.integers(1, 4)),
            depth=int(rng.integers(1, 20)), values=int(rng.integers(0, 9)),
            zeros=tuple(rng.choice([-128, -3, 0, 0, 5, 127], 5).tolist()),
            scales=tuple(rng.uniform(0.02, 0.4, 5).tolist()), function=str(rng.choice(["", "Relu", "Sigmoid", "Tanh"])),
            back=bool(rng.integers(2)), dtype=(np.int8, np.uint8)[rng.integers(2)], seed=seed,
        )  # fmt: skip
        check(ENGINES[list(ENGINES)[rng.integers(len(ENGINES))]], network(attention))


@pytest.mark.parametrize("seed", range(3))
def test_units_out_of_step(seed):
    case = network(CASES["in a block"])
    compiled = compile_graph(case.graph, ENGINE)
    made, rng = machine(compiled, case), random.Random(seed)
    favourite = list(Unit)
    rng.shuffle(favourite)
    race(made, compiled.program, lambda able: min(able, key=favourite.index) if rng.random() < 0.9 else rng.choice(able))
    assert (output(made, compiled, case) == stored(case, case.graph.output)).all()


def test_without_zero_points_there_is_one_multiplication():
    """And for each zero point one more, two for -128."""

    def counted(*zeros: int) -> int:
        attention = Attention(rows=5, zeros=(*zeros, 0))
        program = check(ENGINES["larger than the matrices"], network(attention)).program
        return sum(isinstance(i, Multiply) for i in program)

    plain = counted(0, 0)
    assert [counted(a, b) - plain for a, b in ((3, 0), (0, 3), (3, 3), (-128, 0), (0, -128), (-128, -128))] == [
        1,
        1,
        2,
        2,
        2,
        4,
    ]


def test_weights_come_once():
    """For all rows of the first operand, where there is room for all of a part."""
    network_ = network(Attention(rows=20, depth=7))
    few = check(replace(ENGINE, sums=4), network_).program
    loads = [i for i in few if isinstance(i, Load) and i.place == Place.WEIGHTS]
    assert len(loads) == 4 + 5  # of the layers before; of 20 outputs in parts of 4
    assert sum(isinstance(i, Pool) for i in few) == 5


def squares(m: Model) -> str:
    """Of an image's pixels with themselves."""
    rows = m.op("Reshape", m.dq("x"), m.const(np.array([1, 4, 12])))
    return m.q(m.op("MatMul", m.op("Transpose", rows, perm=[0, 2, 1]), rows), 0.5)


def test_an_image_with_itself():
    m = Model()
    graph = check(ENGINE, of(m.build((1, 4, 3, 4), squares(m))))
    assert any(isinstance(i, Multiply) for i in graph.program)


def test_a_border_of_another_operator():
    """A convolution with padding reads the operand too."""
    scores = MatMul(
        name="scores",
        inputs=("x", "x"),
        output="s",
        groups=1,
        depth=4,
        transposed=True,
        scale=np.float32(0.01),
        lo=-128,
        hi=127,
    )
    message = (
        "scores: rows of its operand x are pixels in a border that another operator wants; put an operator between them, such "
        "as a 1x1 convolution"
    )
    with pytest.raises(HwgenError, match=f"^{re.escape(message)}$"):
        compile_graph(graphs.network((3, 4, 4), scores, graphs.conv(2, 4, 3, pads=(1, 1, 1, 1))), ENGINE)


def test_a_scratchpad_as_large_as_the_message_says():
    graph = import_model(build(Attention(rows=20, depth=16)))
    message = (
        "matmul0: its operands and output lie in the scratchpad as a whole, 1180 bytes with borders, spare ones and tiles of "
        "the second one, and it has 1176; choose a larger one"
    )
    with pytest.raises(HwgenError, match=f"^{re.escape(message)}$"):
        compile_graph(graph, replace(ENGINE, scratchpad=1176))
    compile_graph(graph, replace(ENGINE, scratchpad=1180))


def test_long_sums():
    graph = import_model(build(Attention(rows=2, depth=4, zeros=(-128, -128, 0))))
    nodes = tuple(replace(n, depth=1 << 17, scale=np.float32(1e-9)) if isinstance(n, MatMul) else n for n in graph.nodes)
    with pytest.raises(HwgenError, match=r"^matmul0: sums of up to \d+ do not fit into 32 bits; multiply smaller matrices$"):
        compile_graph(replace(graph, nodes=nodes), replace(ENGINE, weights=1 << 14, scratchpad=1 << 22))


def test_dataflow_is_refused(tmp_path):
    """By ``hwgen check`` as well."""
    path = tmp_path / "scores.onnx"
    path.write_bytes(build(Attention(rows=5)).SerializeToString())
    answer = flow.check(path, "ulx3s-85f")
    assert (answer.supported, answer.fits) == (True, False)
    message = "matmul0: a dataflow accelerator multiplies activations with constants only, not with other activations; "
    assert answer.reason == message + "use --style overlay"
