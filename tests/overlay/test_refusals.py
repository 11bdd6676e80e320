"""Networks that the overlay's compiler refuses: which, why, and what to do instead."""

import re
from dataclasses import replace

import numpy as np
import pytest

from hwgen import graph as g
from hwgen.arith import IntType
from hwgen.demo import MODEL
from hwgen.errors import HwgenError
from hwgen.frontend import import_model, load_onnx
from hwgen.overlay import lower
from hwgen.overlay.engine import Engine
from hwgen.overlay.isa import Load
from hwgen.overlay.lower import compile_graph
from tests.network_specs import Dense, NetworkSpec, Pool
from tests.random_networks import build

ENGINE = Engine(rows=16, columns=16, lanes=8, scratchpad=1 << 22, weights=1 << 14, sums=1 << 14, scales=2048)
DIGITS = import_model(load_onnx(MODEL))
INT8 = g.QuantType(integer=IntType(8), scale=0.5, zero_point=3)


def refused(graph: g.Graph, message: str, engine: Engine = ENGINE) -> None:
    with pytest.raises(HwgenError, match=f"^{re.escape(message)}$"):
        compile_graph(graph, engine)


def network(shape: tuple[int, int, int], *nodes: g.Node, kind: g.QuantType = INT8) -> g.Graph:
    """Of tensors of one type; the input is x."""
    tensors = {"x": g.Tensor(name="x", shape=shape, type=kind)}
    for node in nodes:
        made = g.output_shape(node, [tensors[i] for i in node.inputs])
        tensors[node.output] = g.Tensor(name=node.output, shape=made, type=kind)
    host = g.HostTensor(name="x", layout=g.Layout(axes=(0, 1, 2), shape=(1, *shape)), dtype="int8")
    return g.Graph(
        name="net", nodes=nodes, tensors=tensors, input="x", output=nodes[-1].output, host_input=host, host_output=host
    ).check()


def linear(weights: np.ndarray) -> dict[str, object]:
    return {
        "name": "sums", "inputs": ("x",), "output": "y", "weights": weights, "bias": np.zeros(len(weights), np.int64),
        "scale": np.full(len(weights), 0.01, np.float32), "lo": -128, "hi": 127,
    }  # fmt: skip


def conv(outputs: int, inputs: int, size: int = 1, **options: object) -> g.Conv:
    return g.Conv(**linear(np.ones((outputs, inputs, size, size), np.int64)), kernel=(size, size), **options)


def dense(outputs: int, inputs: int) -> g.Dense:
    return g.Dense(**linear(np.ones((outputs, inputs), np.int64)))


def pool(**options: object) -> g.MaxPool:
    return g.MaxPool(name="pool", inputs=("x",), output="y", **options)


COPY = g.Table(name="copy", inputs=("x",), output="y", table=np.arange(-128, 128), function="Clip")
TWICE = g.Concat(name="twice", inputs=("x", "x"), output="y")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (
            NetworkSpec(size=(1, 1, 4), dense=(Dense(channels=3),), ending="Softmax"),
            "softmax0: the overlay has no Softmax; use --style dataflow",
        ),
        (
            NetworkSpec(size=(4, 4, 4), layers=(Pool(operator="AveragePool", kernel=(2, 2)),)),
            "pool0: the overlay has no AveragePool; use --style dataflow",
        ),
        (
            NetworkSpec(size=(1, 1, 4), dense=(Dense(channels=3),), ending="ArgMax"),
            "argmax0: the overlay has no ArgMax; use --style dataflow",
        ),
    ],
    ids=["Softmax", "AveragePool", "ArgMax"],
)
def test_operators(spec, message):
    refused(import_model(build(spec)), message)


@pytest.mark.parametrize(
    ("engine", "message"),
    [
        (
            {"scratchpad": 512},
            "conv1: its inputs and output take 1856 bytes with borders and 32 spare ones, and the scratchpad has 512; "
            "choose a larger one",
        ),
        (
            {"scratchpad": 16},
            "conv1: its inputs and output take 1856 bytes with borders and 32 spare ones, and the scratchpad has 16; "
            "choose a larger one",
        ),
        ({"weights": 64}, "conv0: 48 entries of weights do not fit into half of the engine's 64; choose an engine with more"),
        ({"scales": 8}, "conv0: 8 entries of scales do not fit into half of the engine's 8; choose an engine with more"),
    ],
    ids=str,
)
def test_memories(engine, message):
    refused(DIGITS, message, replace(ENGINE, **engine))


def test_a_scratchpad_as_large_as_the_message_says():
    compile_graph(DIGITS, replace(ENGINE, scratchpad=1856))
    with pytest.raises(HwgenError, match=r"^conv1: its inputs and output take 1856 bytes .* has 1840; "):
        compile_graph(DIGITS, replace(ENGINE, scratchpad=1840))


@pytest.mark.parametrize(
    ("shape", "node", "message"),
    [
        ((4096, 1, 1), COPY, "tensor x: Load: rows must be in 0..4095, not 4096"),
        ((1, 1 << 20, 1), COPY, "tensor x: Load: size must be in 0..1048575, not 1048576"),
        ((4, 1, 300), conv(1, 300, pads=(0, 0, 4000, 0)), "tensor x: Fill: size must be in 0..1048575, not 1200000"),
        ((1, 1000, 600), TWICE, "tensor y: Store: size must be in 0..1048575, not 1200000"),
        ((1, 1, 4096), pool(kernel=(1, 1)), "pool: Pool: channels must be in 0..4095, not 4096"),
        ((1, 4096, 1), conv(1, 1), "sums: Multiply: x_count must be in 0..4095, not 4096"),
        ((1, 1, 20000), dense(1, 20000), "sums: Multiply: k0_count must be in 0..1023, not 1250"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_fields(shape, node, message):
    """A number that an instruction has no room for."""
    refused(network(shape, node), f"{message}; use --style dataflow")


def test_weights_that_one_instruction_cannot_load():
    engine = replace(ENGINE, columns=256, weights=1 << 14)
    message = "sums: Load: size must be in 0..1048575, not 1048576; use --style dataflow"
    refused(network((1, 1, 4096), dense(4, 4096)), message, engine)
    program = compile_graph(network((1, 1, 4080), dense(4, 4080)), engine).program
    assert max(i.size for i in program if isinstance(i, Load)) == 4080 * 256


def test_sums_to_correct(monkeypatch):
    def sums(fixes):
        def made(node, graph):
            exact = real(node, graph)
            return replace(exact, exact=replace(exact.exact, fixes=np.array(fixes)))

        return made

    real, graph = lower.sums_of, network((1, 1, 4), conv(40, 4))
    monkeypatch.setattr(lower, "sums_of", sums([(15, 0, 1), (16, -5, 1), (31, 7, -1), (32, 0, 1)]))
    drains = [i for i in compile_graph(graph, ENGINE).program if isinstance(i, lower.Drain)]
    assert [(i.fix0_column, i.fix0_sum, i.fix0_delta, i.fix1_column, i.fix1_sum, i.fix1_delta) for i in drains] == [
        (15, 0, 1, 0, 0, 0), (0, -5, 1, 15, 7, -1), (0, 0, 1, 0, 0, 0),
    ]  # fmt: skip
    monkeypatch.setattr(lower, "sums_of", sums([(16, 0, 1), (20, 0, 1), (31, 0, 1)]))
    refused(graph, "sums: 3 sums of output channels 16..31 need a correction, and the engine has two; use --style dataflow")


@pytest.mark.parametrize("node", [pool(kernel=(2, 2)), TWICE, conv(2, 2), conv(2, 2, 3, pads=(1, 1, 1, 1))])
def test_wide_tensors(node):
    graph = network((4, 4, 2), node, kind=replace(INT8, integer=IntType(16)))
    refused(graph, "tensor x: the overlay computes with 8 bits, not int16; use --style dataflow")


def test_two_values_in_one_border():
    nodes = replace(pool(kernel=(3, 3), pads=(1, 1, 1, 1)), output="z"), conv(2, 2, 3, pads=(1, 1, 1, 1))
    refused(network((4, 4, 2), *nodes), "tensor x: its readers pad it with different values, [-128, 3]; use --style dataflow")


@pytest.mark.parametrize(
    ("engine", "message"),
    [
        ({"bus": 5}, "bus must be 4, 8, 16 or 32 bytes, not 5"),
        ({"rows": 0}, "rows must be positive, not 0"),
        ({"taps": 17}, "taps must be at most 16 (rows), not 17"),
        ({"scratchpad": 100}, "scratchpad must be a multiple of 16 bytes (banks), not 100"),
    ],
    ids=str,
)
def test_engines(engine, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        replace(ENGINE, **engine)
