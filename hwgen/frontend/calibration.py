"""Post-training quantisation of a float model by ONNX Runtime's static quantiser."""

import contextlib
import io
import logging
import struct
import tempfile
import warnings
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import helper, numpy_helper
from onnxruntime import quantization
from onnxruntime.quantization.registry import QDQRegistry, QLinearOpsRegistry

from ..errors import HwgenError
from ..oracle import MAX_IR_VERSION, Oracle

__all__ = ["load_samples", "quantize_float"]

# The quantiser leaves these alone unless told: then two of them in a row would have no integers between.
_ALSO = ("Elu", "Erf", "Exp", "Gelu", "HardSigmoid", "HardSwish", "Mish", "Softplus", "Softsign", "Tanh")
# What NumPy raises for damaged .npz files (30,000 damaged ones tried).
_DAMAGE = (ValueError, EOFError, MemoryError, RuntimeError, struct.error, zipfile.BadZipFile, zlib.error)
_QUANTISED = ("QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "ConvInteger", "MatMulInteger", "QGemm")


def load_samples(path: str | Path) -> np.ndarray:
    """The array ``inputs`` of an .npz file: calibration frames, (N, ...).

    ``HwgenError`` where the file is missing or no .npz file, or ``inputs`` is missing or not numbers.
    """
    try:
        with open(path, "rb") as raw:
            file = np.load(raw, allow_pickle=False)
            if isinstance(file, np.ndarray):
                raise HwgenError(
                    f"calibration file {path}: must be an .npz file with an array named inputs, not a single array"
                )
            if "inputs" not in file:
                raise HwgenError(f"calibration file {path}: must have an array named inputs; it has {_listed(file.files)}")
            samples: np.ndarray = file["inputs"]
    except FileNotFoundError as error:
        raise HwgenError(f"calibration file {path}: does not exist") from error
    except OSError as error:
        raise HwgenError(f"calibration file {path}: cannot be read ({error.strerror or error})") from error
    except _DAMAGE as error:
        raise HwgenError(f"calibration file {path}: not an .npz file (numpy.savez), damaged, or not of numbers") from error
    if not _numeric(samples):
        raise HwgenError(f"calibration file {path}: inputs must be numbers, not {samples.dtype}")
    return samples


def quantize_float(model: onnx.ModelProto, samples: np.ndarray) -> onnx.ModelProto:
    """A float model as QDQ int8: weights symmetric per channel, activations asymmetric, ranges from ``samples``.

    Batch normalisation is folded into the layer before it. The result depends on model and samples only, to the byte.

    Parameters
    ----------
    model
        With one float32 input; its first dimension is the batch, 1 or dynamic. Not changed.
    samples
        (N, ...): N ≥ 1 finite numbers in the shape of the model's input (without its batch dimension).

    Raises
    ------
    HwgenError
        The model is quantised already, does not run, or the samples do not fit it.
    """
    if any(n.op_type in _QUANTISED or n.op_type.startswith("QLinear") for n in model.graph.node):
        raise HwgenError("the model is already quantised: calibration is for float models, leave --calibration out")
    constants = {i.name for i in model.graph.initializer}
    inputs = [i for i in model.graph.input if i.name not in constants]
    if len(inputs) != 1:
        raise HwgenError(f"the model must have one input to be calibrated, not {len(inputs)}")
    if inputs[0].type.tensor_type.elem_type != onnx.TensorProto.FLOAT:
        raise HwgenError(f"model input {inputs[0].name}: must be float32 to be calibrated")
    frames = _checked(samples, [d.dim_value or d.dim_param or "?" for d in inputs[0].type.tensor_type.shape.dim])
    readable = onnx.ModelProto()
    readable.CopyFrom(model)
    readable.ir_version = min(model.ir_version, MAX_IR_VERSION)
    Oracle(readable).run(frames[:1])  # says what ONNX Runtime says against the model
    with tempfile.TemporaryDirectory(prefix="hwgen-") as folder, _quiet():
        prepared, quantised = Path(folder) / "prepared.onnx", Path(folder) / "quantised.onnx"
        try:
            _fold(readable, prepared)
            quantization.quantize_static(
                prepared,
                quantised,
                _Frames(inputs[0].name, frames),
                quant_format=quantization.QuantFormat.QDQ,
                op_types_to_quantize=sorted({*QDQRegistry, *QLinearOpsRegistry, *_ALSO}),
                per_channel=True,
                activation_type=quantization.QuantType.QInt8,
                weight_type=quantization.QuantType.QInt8,
                calibrate_method=quantization.CalibrationMethod.MinMax,
                extra_options={"ActivationSymmetric": False, "WeightSymmetric": True},
            )
        except (ValueError, TypeError, KeyError, IndexError, AttributeError, RuntimeError) as error:
            raise HwgenError(f"ONNX Runtime's quantiser failed on the model: {type(error).__name__}: {error}") from error
        result = onnx.load(quantised)
    used = {n.domain for n in result.graph.node}
    opsets = [o for o in result.opset_import if o.domain in used]
    del result.opset_import[:]
    result.opset_import.extend(opsets)  # without those that ONNX Runtime adds for itself
    return result


def _fold(model: onnx.ModelProto, path: Path) -> None:
    """Write ``model``: constants and batch normalisation folded, MatMul + Add as Gemm, image means as pools, shapes inferred.

    As ``onnxruntime.quantization.quant_pre_process``, which fails with onnx 1.23 (external data in its temporary folder).
    """
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(path)
    options.log_severity_level = 4
    onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    folded = onnx.load(path)
    if next(o.version for o in folded.opset_import if o.domain == "") >= 14:  # the first with HardSwish
        _restore_hard_swish(folded.graph)
    _pool_means(folded.graph)
    onnx.save(onnx.shape_inference.infer_shapes(folded), path)


def _restore_hard_swish(graph: onnx.GraphProto) -> None:
    """x · HardSigmoid(x), as ONNX Runtime writes HardSwish, back to HardSwish: a function of one element, not a product."""
    makers = {n.output[0]: n for n in graph.node if n.op_type == "HardSigmoid"}
    uses = Counter(i for n in graph.node for i in n.input)
    outputs = {o.name for o in graph.output}
    for node in [n for n in graph.node if n.op_type == "Mul"]:
        gate = makers.get(node.input[0]) or makers.get(node.input[1])
        if gate is None or uses[gate.output[0]] > 1 or gate.output[0] in outputs:
            continue
        alpha, beta = (next((a.f for a in gate.attribute if a.name == k), v) for k, v in (("alpha", 0.2), ("beta", 0.5)))
        if sorted(node.input) == sorted((gate.input[0], gate.output[0])) and abs(alpha - 1 / 6) < 1e-6 and beta == 0.5:
            node.CopyFrom(helper.make_node("HardSwish", [gate.input[0]], list(node.output), name=node.name))
            graph.node.remove(gate)


def _pool_means(graph: onnx.GraphProto) -> None:
    """ReduceMean over an image to GlobalAveragePool (and Flatten): ONNX Runtime has an integer kernel for this one only."""
    constants = {i.name: numpy_helper.to_array(i) for i in graph.initializer}
    for k, node in reversed(list(enumerate(graph.node))):
        if node.op_type != "ReduceMean":
            continue
        attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        axes = constants.get(node.input[1]) if len(node.input) > 1 else attributes.get("axes")
        if axes is None or sorted(map(int, axes)) not in ([2, 3], [-2, -1]):
            continue
        flat = attributes.get("keepdims", 1) == 0
        pooled = f"{node.output[0]}_pooled" if flat else node.output[0]
        pool = helper.make_node("GlobalAveragePool", [node.input[0]], [pooled], name=node.name)
        flatten = [helper.make_node("Flatten", [pooled], [node.output[0]], name=f"{node.name}_flatten")] if flat else []
        graph.node.remove(node)
        for new in (*flatten, pool):
            graph.node.insert(k, new)


class _Frames(quantization.CalibrationDataReader):
    """Feeds frames one at a time, as ONNX Runtime's calibrator asks for them."""

    def __init__(self, name: str, frames: np.ndarray) -> None:
        self._feeds = iter([{name: frame[None]} for frame in frames])

    def get_next(self) -> Any:
        return next(self._feeds, None)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the quantiser's log, warnings and prints (advice to pre-process, progress) from the user."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _checked(samples: np.ndarray, shape: list[int | str]) -> np.ndarray:
    """Samples as float32, found to fit the model's input of ``shape``."""
    if not _numeric(samples):
        raise HwgenError(f"calibration samples must be numbers, not {samples.dtype}")
    fits = samples.ndim == len(shape) and all(
        isinstance(want, str) or want == got for want, got in zip(shape[1:], samples.shape[1:], strict=True)
    )
    if not fits:
        raise HwgenError(
            f"calibration samples must be {_shape(['N', *shape[1:]])} as the model's input, not {_shape(samples.shape)}"
        )
    if not samples.size:
        raise HwgenError(f"calibration samples must not be empty, but are {_shape(samples.shape)}")
    with np.errstate(over="ignore"):
        frames = samples.astype(np.float32)
    bad = np.argwhere(~np.isfinite(frames))
    if len(bad):
        where = tuple(int(k) for k in bad[0])
        raise HwgenError(f"calibration samples must be finite float32 numbers, not {samples[where]} (at {_shape(where)})")
    return np.ascontiguousarray(frames)


def _numeric(array: np.ndarray) -> bool:
    return array.dtype.kind in "fiu"


def _shape(sizes: Any) -> str:
    return f"({', '.join(map(str, sizes))})"


def _listed(names: list[str]) -> str:
    return ", ".join(names) or "none"
