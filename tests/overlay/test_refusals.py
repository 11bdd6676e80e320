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
from hwgen.overlay.engine import Engine
from hwgen.overlay.lower import compile_graph
from tests.network_specs import Dense, NetworkSpec
from tests.overlay.graphs import INT8, conv, network, pool
from tests.random_networks import build

ENGINE = Engine(rows=16, columns=16, lanes=8, scratchpad=1 << 22, weights=1 << 14, sums=1 << 14, scales=2048)
DIGITS = import_model(load_onnx(MODEL))


def refused(graph: g.Graph, message: str, engine: Engine = ENGINE) -> None:
    with pytest.raises(HwgenError, match=f"^{re.escape(message)}$"):
        compile_graph(graph, engine)


COPY = g.Table(name="copy", inputs=("x",), output="y", table=np.arange(-128, 128), function="Clip")
TWICE = g.Concat(name="twice", inputs=("x", "x"), output="y")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (
            NetworkSpec(size=(1, 1, 4), dense=(Dense(channels=3),), ending="Softmax"),
            "softmax0: the engine has no Softmax; choose another board, or use --style dataflow",
        ),
        (
            NetworkSpec(size=(1, 1, 4), dense=(Dense(channels=3),), ending="ArgMax"),
            "argmax0: the overlay has no ArgMax but behind its last other operator, on the host or on chip; "
            "use --style dataflow",
        ),
    ],
    ids=["Softmax", "ArgMax"],
)
def test_operators(spec, message):
    refused(import_model(build(spec)), message)


@pytest.mark.parametrize(
    ("engine", "message"),
    [
        (
            {"scratchpad": 96},
            "conv1: a row of its output and what it is made of take 464 bytes with borders and spare ones, and the scratchpad "
            "has 96; choose a larger one",
        ),
        (
            {"weights": 15},
            "conv0: a tile's 16 entries of weights do not fit into the engine's 15; choose an engine with more",
        ),
        ({"scales": 8}, "conv1: 16 entries of scales do not fit into the engine's 8; choose an engine with more"),
    ],
    ids=str,
)
def test_memories(engine, message):
    refused(DIGITS, message, replace(ENGINE, **engine))


def test_a_scratchpad_as_large_as_the_message_says():
    compile_graph(DIGITS, replace(ENGINE, scratchpad=464))
    with pytest.raises(HwgenError, match=r"^conv1: a row of its output .* take 464 bytes .* has 448; "):
        compile_graph(DIGITS, replace(ENGINE, scratchpad=448))


@pytest.mark.parametrize(
    ("shape", "node", "message"),
    [
        ((4, 1, 300), conv(1, 300, pads=(0, 0, 4000, 0)), "tensor x: Fill: size must be in 0..1048575, not 1200000"),
        ((1, 1, 4096), pool(kernel=(1, 1)), "pool: Pool: channels must be in 0..4095, not 4096"),
        ((1100, 1100, 1), pool(kernel=(1, 1)), "pool: Pool: x_count must be in 0..1023, not 1100"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_fields(shape, node, message):
    """A number that an instruction has no room for."""
    refused(network(shape, node), f"{message}; use --style dataflow")


@pytest.mark.parametrize("node", [pool(kernel=(2, 2)), TWICE, conv(2, 2), conv(2, 2, 3, pads=(1, 1, 1, 1))])
def test_wide_tensors(node):
    graph = network((4, 4, 2), node, kind=replace(INT8, integer=IntType(16)))
    refused(graph, "tensor x: the overlay computes with 8 bits, not int16; use --style dataflow")


def test_two_values_in_one_border():
    nodes = replace(pool(kernel=(3, 3), pads=(1, 1, 1, 1)), output="z"), conv(2, 2, 3, pads=(1, 1, 1, 1))
    refused(network((4, 4, 2), *nodes), "tensor x: its readers pad it with different values, [-128, 3]; use --style dataflow")
