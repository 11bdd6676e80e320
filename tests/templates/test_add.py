from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from hwgen.arith import IntType
from hwgen.errors import HwgenError
from hwgen.graph import QuantType
from hwgen.templates.add import AddParams, AddTables, _fused, add_block, add_reference
from hwgen.testing import STALLS, run_streams

from .contract import check_arrivals, check_limits, check_timing, random_words

INT8, UINT8, INT4 = IntType(8), IntType(8, False), IntType(4)
ONNX = {INT8: (TensorProto.INT8, np.int8), UINT8: (TensorProto.UINT8, np.uint8)}
TYPES = [(INT8, INT8, INT8), (UINT8, UINT8, UINT8), (INT8, UINT8, INT8), (UINT8, INT8, UINT8)]


def quant(integer: IntType, scale: float, zero_point: int) -> QuantType:
    return QuantType(integer=integer, scale=float(np.float32(scale)), zero_point=zero_point)


def random_types(rng: np.random.Generator, types: tuple[IntType, ...], kind: int) -> list[QuantType]:
    """Ordinary scales; powers of two (every other sum a tie, or more); scales far apart."""
    scales = [
        rng.uniform(0.01, 0.1) * np.array([1, rng.uniform(0.3, 2), rng.uniform(0.8, 2.5)]),
        2.0 ** rng.integers(-8, -2, 3),
        2.0 ** rng.uniform(-14, -2, 3),
    ][kind]
    return [quant(t, s, int(rng.integers(t.min, t.max + 1))) for t, s in zip(types, scales, strict=True)]


def pairs(a: IntType, b: IntType) -> tuple[np.ndarray, np.ndarray]:
    x, y = np.meshgrid(np.arange(a.min, a.max + 1), np.arange(b.min, b.max + 1), indexing="ij")
    return x.reshape(-1, 1), y.reshape(-1, 1)


def runtime_sums(types: list[QuantType], x: np.ndarray, y: np.ndarray, relu: bool) -> np.ndarray:
    """ONNX Runtime in the reference mode on DequantizeLinear, Add (Relu), QuantizeLinear."""
    nodes, weights = [], []
    for name, t in zip("aby", types, strict=True):
        weights += [numpy_helper.from_array(np.float32(t.scale), f"s{name}")]
        weights += [numpy_helper.from_array(ONNX[t.integer][1](t.zero_point), f"z{name}")]
    nodes += [helper.make_node("DequantizeLinear", [n, f"s{n}", f"z{n}"], [f"{n}f"]) for n in "ab"]
    nodes.append(helper.make_node("Add", ["af", "bf"], ["sum"]))
    if relu:
        nodes.append(helper.make_node("Relu", ["sum"], ["relu"]))
    nodes.append(helper.make_node("QuantizeLinear", ["relu" if relu else "sum", "sy", "zy"], ["y"]))
    infos = [helper.make_tensor_value_info(n, ONNX[t.integer][0], x.shape) for n, t in zip("aby", types, strict=True)]
    graph = helper.make_graph(nodes, "add", infos[:2], infos[2:], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.qdqisint8allowed", "1")
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    feeds = {n: v.astype(ONNX[t.integer][1]) for n, v, t in zip("ab", (x, y), types[:2], strict=True)}
    return session.run(None, feeds)[0].astype(np.int64)


@pytest.mark.parametrize("types", TYPES)
@pytest.mark.parametrize("kind", [0, 1, 2])
@pytest.mark.parametrize("relu", [False, True])
def test_reference_is_onnx_runtime(types, kind, relu):
    rng = np.random.default_rng(10 * kind + relu)
    for n in range(5):
        a, b, y = random_types(rng, types, kind)
        y = replace(y, zero_point=y.integer.min) if relu else y
        x0, x1 = pairs(*types[:2])
        odd = n % 3  # one or two elements more than the kernel's vectors hold
        x0, x1 = np.concatenate([x0, x0[:odd]]), np.concatenate([x1, x1[:odd]])
        want = add_reference(a, b, y, y.integer.min, y.integer.max)[x0 - types[0].min, x1 - types[1].min]
        assert (runtime_sums([a, b, y], x0, x1, relu) == want).all(), (a, b, y)


@pytest.mark.parametrize("types", TYPES)
@pytest.mark.parametrize("kind", [0, 1, 2])
def test_tables_are_the_reference(types, kind):
    rng = np.random.default_rng(kind)
    for limits in ((None, None), (-3, 90), (17, 17)):
        a, b, y = random_types(rng, types, kind)
        lo, hi = max(y.integer.min, y.integer.min if limits[0] is None else limits[0]), limits[1] or y.integer.max
        params, tables = add_block(a, b, y, lo, hi, lanes=1, words=1)
        sums = params.compute(*pairs(*types[:2]), tables)
        assert (sums.ravel() == add_reference(a, b, y, lo, hi).ravel()).all()
        if kind < 2:
            assert params.fixes == 0
            assert params.term.bits <= 18


def test_fused_multiply_add_rounds_once():
    """Against exact fractions; cases that rounding twice gets wrong included."""
    rng = np.random.default_rng(2)
    x = np.concatenate([rng.integers(-255, 256, 300), [3, 3, 3, 3]]).astype(np.float32)
    y = np.concatenate([2.0 ** rng.uniform(-20, 20, 300), [5, 1 + 2**-23, 1 + 2**-23, 1 + 3 * 2**-23]]).astype(np.float32)
    z = np.concatenate([rng.normal(0, 100, 300), [0, 2.0**-60, -(2.0**-60), 2.0**-60]]).astype(np.float32)
    for got, *operands in zip(_fused(x, y, z), x, y, z, strict=True):
        f, g, h = (Fraction(float(v)) for v in operands)
        exact = f * g + h
        near = [np.nextafter(got, np.float32(d)) for d in (-np.inf, np.inf)]
        error = abs(Fraction(float(got)) - exact)
        others = [abs(Fraction(float(v)) - exact) for v in near]
        assert error <= min(others)
        if error == min(others):
            assert not int(got.view(np.int32)) & 1


def block(**changes: Any) -> tuple[AddParams, AddTables]:
    values: dict[str, Any] = {
        "a": INT8, "b": INT8, "output": INT8, "lanes": 2, "words": 12, "term": IntType(12), "shift": 4, "window": -1,
        "odd": 1, "lo": -128, "hi": 127, "fixes": 0,
    }  # fmt: skip
    params = AddParams(**{**values, **changes})
    rng = np.random.default_rng(6)
    a, b = (rng.integers(params.term.min, params.term.max + 1, 1 << t.bits) for t in (params.a, params.b))
    operands = [rng.integers(t.min, t.max + 1, params.fixes) for t in (params.a, params.b)]
    return params, AddTables(a=a, b=b, fixes=np.stack([*operands, rng.integers(-40, 40, params.fixes)], axis=1))


SHAPES: list[dict[str, Any]] = [
    {},
    {"window": 2},
    {"window": 0, "odd": 0, "lanes": 1, "lo": -5, "hi": 100},
    {"fixes": 3, "lanes": 3},
    {"a": UINT8, "b": INT4, "output": UINT8, "lo": 0, "hi": 255, "shift": 0},
]


@pytest.mark.parametrize("changes", SHAPES)
@pytest.mark.parametrize("o_pause", STALLS)
def test_hardware_is_compute(changes, o_pause):
    params, tables = block(**changes)
    a, b = random_words(params, 3)
    a[0], b[0], a[1], b[1] = params.a.min, params.b.min, params.a.max, params.b.max
    for n, (at_a, at_b, _) in enumerate(tables.fixes):
        a[2 + n], b[2 + n] = at_a, at_b
    want = params.compute(a, b, tables)
    for i_pause in STALLS:
        run = run_streams(params, [a, b], [len(a)], contents=tables, i_pause=i_pause, o_pause=o_pause)
        assert (run.outputs[0] == want).all()


def test_hardware_of_all_pairs():
    """A window of operands around ties, with tables from the search."""
    params, tables = add_block(
        quant(INT8, 1 / 16, 3), quant(INT8, 1 / 8, -7), quant(INT8, 1 / 2, 5), -128, 127, lanes=1, words=1
    )
    a, b = (x[::97].repeat(1, axis=0) for x in pairs(INT8, INT8))
    params = replace(params, words=len(a))
    run = run_streams(params, [a, b], [len(a)], contents=tables)
    assert params.window >= 0
    assert (run.outputs[0] == params.compute(a, b, tables)).all()


@pytest.mark.parametrize("changes", SHAPES)
def test_timing(changes):
    params, tables = block(**changes)
    check_timing(params, tables)
    check_arrivals(params, tables)
    check_limits(params, tables)


def test_nothing_fits_scales_too_far_apart():
    with pytest.raises(HwgenError, match=r"^scales 1.0, 1.0 and .* are too far apart to add in float32$"):
        add_block(quant(INT8, 1, 0), quant(INT8, 1, 5), quant(INT8, 1e-39, 0), -128, 127, lanes=1, words=1)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"lanes": 0}, r"lanes must be positive, not 0"),
        ({"a": IntType(10)}, r"a and b must have at most 9 bits, not int10 and int8"),
        ({"term": IntType(62)}, r"term must have at most 61 bits, not int62"),
        ({"shift": -1}, r"shift must be in 0\.\.60, not -1"),
        ({"window": 4}, r"window must be in -1\.\.3, not 4"),
        ({"odd": 3}, r"odd must be 0 or 1, not 3"),
        ({"hi": 128}, r"lo and hi must be an interval of int8, not -128 and 128"),
        ({"fixes": -1}, r"fixes must not be negative, not -1"),
    ],
)
def test_errors(changes, text):
    params, _ = block()
    with pytest.raises(ValueError, match=f"^{text}$"):
        replace(params, **changes)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"a": np.zeros(255, int)}, r"table a must have shape \(256,\), not \(255,\)"),
        ({"b": np.full(256, 2048)}, r"table b must be int12, not in 2048\.\.2048"),
        ({"fixes": np.zeros((2, 3), int)}, r"fixes must have shape \(0, 3\), not \(2, 3\)"),
    ],
)
def test_contents_errors(change, text):
    params, tables = block()
    with pytest.raises(ValueError, match=f"^{text}$"):
        params.create(replace(tables, **change))
