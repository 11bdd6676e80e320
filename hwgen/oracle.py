"""ONNX Runtime as the reference that integer results are compared with.

The mode that makes it one (``session.qdqisint8allowed=1``, CPU, default optimisations, one frame at a time) is explained in
docs/decisions/0002-onnxruntime-reference.md, with what was measured.
"""

import platform
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.capi import onnxruntime_pybind11_state as _ort

from .errors import HwgenError
from .graph import QuantType

__all__ = ["Oracle", "cpu_features", "float_sums", "quantize_outputs", "run_unary", "saturates"]

MAX_IR_VERSION = 13  #: the newest that ONNX Runtime 1.31 reads; newer ones only add what quantised networks do not use

_ORT_ERRORS = (
    _ort.EPFail, _ort.Fail, _ort.InvalidArgument, _ort.InvalidGraph, _ort.InvalidProtobuf, _ort.NotImplemented,
    _ort.RuntimeException,
)  # fmt: skip
_SUMS = ("Add", "AveragePool", "Conv", "FusedConv", "FusedGemm", "FusedMatMul", "Gemm", "GlobalAveragePool", "MatMul",
         "ReduceMean", "ReduceSum", "Sub")  # fmt: skip
_RELEVANT = ("ssse3", "avx", "f16c", "fma", "avx2", "avx_vnni", "avx512f", "avx512bw", "avx512vl", "avx512_vnni", "amx_int8",
             "asimd", "asimddp", "i8mm")  # fmt: skip


class Oracle:
    """A model in the reference mode.

    Parameters
    ----------
    model
        With one input, whose first dimension is the batch: 1 or dynamic. Not changed. ``HwgenError`` where ONNX Runtime does
        not accept it.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        self._model = _readable(model)
        self._sessions: dict[tuple[str, ...], onnxruntime.InferenceSession] = {}
        session = self._session(())
        if len(session.get_inputs()) != 1:
            raise HwgenError(f"the model must have one input, not {len(session.get_inputs())}")
        self.input: str = session.get_inputs()[0].name
        self.outputs: tuple[str, ...] = tuple(o.name for o in session.get_outputs())
        self._dtype = _dtype(session.get_inputs()[0].type)
        self._shape = tuple(session.get_inputs()[0].shape)

    def run(self, frames: np.ndarray, names: Sequence[str] = ()) -> dict[str, np.ndarray]:
        """Run frame by frame.

        Parameters
        ----------
        frames
            (N, ...): N frames in the shape (without its batch dimension) and type of the model's input.
        names
            Inner tensors wanted besides the model's own outputs.

        Returns
        -------
        dict
            Tensor name to (N, ...) in the tensor's own type, a leading dimension of 1 (the batch) left out.
        """
        if frames.dtype != self._dtype:
            raise TypeError(f"frames must be {self._dtype}, not {frames.dtype}")
        fits = len(self._shape) == frames.ndim and all(
            not isinstance(want, int) or want == got for want, got in zip(self._shape[1:], frames.shape[1:], strict=True)
        )
        if not fits:
            raise ValueError(f"frames must be (N, {', '.join(map(str, self._shape[1:]))}), not {frames.shape}")
        if not len(frames):
            raise ValueError("frames must be at least 1, not 0")
        wanted = list(dict.fromkeys((*names, *self.outputs)))
        session = self._session(tuple(n for n in wanted if n not in self.outputs))
        try:
            runs = [session.run(wanted, {self.input: frame[None]}) for frame in frames]
        except _ORT_ERRORS as error:
            raise HwgenError(f"ONNX Runtime cannot run the model: {_text(error)}") from error
        return {n: np.stack([r[k][0] if r[k].shape[:1] == (1,) else r[k] for r in runs]) for k, n in enumerate(wanted)}

    def _session(self, names: tuple[str, ...]) -> onnxruntime.InferenceSession:
        """The session that has ``names`` among its outputs."""
        if names not in self._sessions:
            made = {o for node in self._model.graph.node for o in node.output}
            if missing := sorted(set(names) - made):
                raise ValueError(f"names must be outputs of the model's nodes, not {missing}")
            exposed = onnx.ModelProto()
            exposed.CopyFrom(self._model)
            # Without a type: ONNX Runtime infers it.
            exposed.graph.output.extend(onnx.ValueInfoProto(name=n) for n in names)
            self._sessions[names] = _start(exposed)
        return self._sessions[names]


def quantize_outputs(model: onnx.ModelProto) -> tuple[str, ...]:
    """Names of the integer tensors that the model computes: outputs of QuantizeLinear and of QLinear*/QGemm, in file order."""
    return tuple(
        n.output[0] for n in model.graph.node if n.op_type in ("QuantizeLinear", "QGemm") or n.op_type.startswith("QLinear")
    )


def float_sums(model: onnx.ModelProto) -> tuple[str, ...]:
    """Real-valued sums that even the reference mode computes in floating point: names of the tensors, in the order of running.

    Such a model has no exact integer meaning: where a real result lies within float32's rounding of a tie, the quantised value
    depends on the order of additions (about one element in a million).
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "optimised.onnx"
        _start(_readable(model), save=path)
        optimised = onnx.load(path)
    return tuple(n.output[0] for n in optimised.graph.node if n.op_type in _SUMS and n.domain in ("", "com.microsoft"))


def run_unary(
    nodes: Sequence[onnx.NodeProto],
    x: QuantType,
    y: QuantType,
    *,
    initializers: Sequence[TensorProto] = (),
    opsets: Sequence[onnx.OperatorSetIdProto] = (),
) -> np.ndarray:
    """The table of DequantizeLinear → ``nodes`` → QuantizeLinear, as the reference computes it.

    Parameters
    ----------
    nodes
        A chain of element-wise operators from ``nodes[0].input[0]`` to ``nodes[-1].output[0]``; none: a requantisation.
    x, y
        8-bit types of input and output.
    initializers, opsets
        The constants the nodes use; the model's operator sets (none: version 17).

    Returns
    -------
    np.ndarray
        int64 (256,): entry k belongs to the input ``x.integer.min + k``.
    """
    for name, t in (("x", x), ("y", y)):
        if t.integer.bits != 8:
            raise ValueError(f"{name} must be an 8-bit type, not {t.integer}")
    first, last = (nodes[0].input[0], nodes[-1].output[0]) if nodes else ("real", "real")
    quantisers = [
        *(numpy_helper.from_array(np.array(t.scale, np.float32), f"hwgen_{name}_scale") for name, t in (("x", x), ("y", y))),
        *(
            numpy_helper.from_array(np.array(t.zero_point, _integer(t)), f"hwgen_{name}_zero")
            for name, t in (("x", x), ("y", y))
        ),
    ]
    values = np.arange(x.integer.min, x.integer.max + 1).astype(_integer(x))
    graph = helper.make_graph(
        [
            helper.make_node("DequantizeLinear", ["hwgen_x", "hwgen_x_scale", "hwgen_x_zero"], [first]),
            *nodes,
            helper.make_node("QuantizeLinear", [last, "hwgen_y_scale", "hwgen_y_zero"], ["hwgen_y"]),
        ],
        "unary",
        [helper.make_tensor_value_info("hwgen_x", helper.np_dtype_to_tensor_dtype(values.dtype), [1, 256])],
        [onnx.ValueInfoProto(name="hwgen_y")],
        [*quantisers, *initializers],
    )
    model = helper.make_model(graph, opset_imports=list(opsets) or [helper.make_opsetid("", 17)])
    return Oracle(model).run(values[None])["hwgen_y"][0].astype(np.int64)


def cpu_features() -> str:
    """ONNX Runtime's version, the CPU and those of its instruction sets that choose among ONNX Runtime's integer kernels."""
    model, flags = platform.processor() or platform.machine(), list[str]()
    info = Path("/proc/cpuinfo")
    if info.exists():
        pairs = [line.partition(":") for line in info.read_text().splitlines()]
        fields = {name.strip(): value.strip() for name, _, value in pairs}
        model = fields.get("model name", model)
        flags = (fields.get("flags") or fields.get("Features") or "").split()
    found = " ".join(f for f in _RELEVANT if f in flags) or "unknown"
    return f"onnxruntime {onnxruntime.__version__}, {model}: {found}{', 8-bit products saturate' if saturates() else ''}"


@cache
def saturates() -> bool:
    """Whether this CPU's 8-bit kernels add products in 16 bits with saturation (x86 without VNNI): not the reference then."""
    k = 64
    # ±127: as unsigned 8-bit operands pairs of products reach 2·255·127 > 32767.
    weights = np.full((k, 16), 127, np.int8)
    constants = {"s": np.float32(1), "ys": np.float32(2**14), "xz": np.int8(-128), "yz": np.int8(0), "w": weights}
    nodes = [
        helper.make_node("DequantizeLinear", ["x", "s", "xz"], ["xf"]),
        helper.make_node("DequantizeLinear", ["w", "s", "yz"], ["wf"]),
        helper.make_node("MatMul", ["xf", "wf"], ["yf"]),
        helper.make_node("QuantizeLinear", ["yf", "ys", "yz"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "saturation",
        [helper.make_tensor_value_info("x", TensorProto.INT8, [1, k])],
        [onnx.ValueInfoProto(name="y")],
        [numpy_helper.from_array(np.asarray(v), n) for n, v in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    got = Oracle(model).run(np.full((1, k), 127, np.int8))["y"]
    return bool((got != round(k * 255 * 127 / 2**14)).any())


def _readable(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy with an IR version that ONNX Runtime reads."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    copy.ir_version = min(copy.ir_version, MAX_IR_VERSION)
    return copy


def _start(model: onnx.ModelProto, save: Path | None = None) -> onnxruntime.InferenceSession:
    """A session in the reference mode; ``save``: where to write the optimised model."""
    options = onnxruntime.SessionOptions()
    if save:
        options.optimized_model_filepath = str(save)
    options.add_session_config_entry("session.qdqisint8allowed", "1")
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4  # errors are raised, not printed
    try:
        return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except _ORT_ERRORS as error:
        raise HwgenError(f"ONNX Runtime does not accept the model: {_text(error)}") from error


def _text(error: Exception) -> str:
    return " ".join(str(error).split())


def _integer(t: QuantType) -> np.dtype:
    return np.dtype(f"{'' if t.integer.signed else 'u'}int{t.integer.bits}")


def _dtype(ort_type: str) -> np.dtype:
    """NumPy's name of ONNX Runtime's ``tensor(float)``."""
    name = ort_type.removeprefix("tensor(").removesuffix(")")
    return np.dtype({"float": "float32", "double": "float64"}.get(name, name))
