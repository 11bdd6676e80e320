"""From a file to a checked ``ModelProto``: everything that can be said about a model without understanding its network."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError, EncodeError  # type: ignore[import-untyped]
from onnx import TensorProto, numpy_helper

from ..errors import HwgenError

__all__ = ["check_model", "load_onnx", "read_onnx"]

MICROSOFT = "com.microsoft"
LIMIT = 1 << 24  #: no kernel, stride, pad, axis or dimension of a network for an FPGA is larger
TYPES = {TensorProto.FLOAT, TensorProto.INT8, TensorProto.UINT8, TensorProto.INT32, TensorProto.INT64, TensorProto.BOOL}


def load_onnx(path: str | Path) -> onnx.ModelProto:
    """Read and check the model in the file ``path``; external data must lie in the same folder or below it.

    Raises
    ------
    HwgenError
        Not a file, not ONNX, damaged, or :func:`check_model` refuses it.
    """
    path = Path(path)
    model = read_onnx(path)
    try:
        _load_external_data(model, path)
        return check_model(model)
    except HwgenError as error:
        raise HwgenError(f"{path}: {error}") from None


def read_onnx(path: Path) -> onnx.ModelProto:
    """The model in the file ``path`` as it is, without external data. ``HwgenError``: not a file, not ONNX, damaged."""
    if not path.exists():
        raise HwgenError(f"{path}: no such file")
    if path.is_dir():
        raise HwgenError(f"{path}: is a folder, not an ONNX file")
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise HwgenError(f"{path}: cannot be read: {error.strerror}") from None
    if not raw:
        raise HwgenError(f"{path}: the file is empty; export the model again")
    model = onnx.ModelProto()
    try:
        model.ParseFromString(raw)
    except (DecodeError, ValueError) as error:
        raise HwgenError(f"{path}: not an ONNX file, or a truncated one ({error}); export or copy the model again") from None
    if not model.HasField("graph") or not model.graph.node:
        raise HwgenError(f"{path}: not an ONNX file, or one without operators; export the model again")
    return model


def _load_external_data(model: onnx.ModelProto, path: Path) -> None:
    """Bring external data of initializers into ``model``."""
    folder = path.parent.resolve()
    for tensor in model.graph.initializer:
        if tensor.data_location != TensorProto.EXTERNAL:
            continue
        info = {e.key: e.value for e in tensor.external_data}
        file = (folder / info.get("location", "")).resolve()
        where = f"initializer {tensor.name}: external data {info.get('location', '')!r}"
        if folder not in file.parents:
            raise HwgenError(f"{where} must lie beside the model, not elsewhere")
        if not file.is_file():
            raise HwgenError(f"{where} is missing; copy that file to the model's folder")
        try:
            offset, length = int(info.get("offset", 0)), int(info.get("length", -1))
        except ValueError:
            raise HwgenError(f"{where} must have numbers as offset and length, not {info}") from None
        if offset < 0 or length < -1:
            raise HwgenError(f"{where} must have an offset and a length that are not negative, not {info}")
        with file.open("rb") as stream:
            stream.seek(offset)
            tensor.raw_data = stream.read(length)
        tensor.data_location = TensorProto.DEFAULT
        del tensor.external_data[:]


def check_model(model: onnx.ModelProto) -> onnx.ModelProto:
    """Raise :class:`HwgenError` unless ``model`` is valid ONNX of the kind hwgen reads; returns the model.

    One input, one output, static shapes but for the batch, sane numbers, unique names, no cycle.
    """
    graph = model.graph
    if graph.sparse_initializer:
        raise HwgenError("sparse initializers are not supported; store dense weights")
    if model.functions:
        raise HwgenError("local functions are not supported; inline them (onnx.inliner.inline_local_functions)")
    _check_interface(graph)
    for node in graph.node:
        _check_node(node)
    _check_names(graph)
    for tensor in graph.initializer:
        _check_tensor(tensor)
    _check_order(graph)
    foreign = any(n.domain not in ("", "ai.onnx") for n in graph.node)
    if any(not onnx.defs.has(n.op_type) if n.domain in ("", "ai.onnx") else n.domain != MICROSOFT for n in graph.node):
        return model  # the importer names these operators
    try:
        checked = model
        if not model.graph.output[0].type.tensor_type.HasField("shape"):  # the checker insists on one; nobody else does
            checked = onnx.shape_inference.infer_shapes(model)
            checked.graph.output[0].type.tensor_type.shape.SetInParent()
        onnx.checker.check_model(checked, full_check=not foreign)
        if foreign:  # their schemas are unknown: tolerate what inference leaves open
            onnx.shape_inference.infer_shapes(model, check_type=False, strict_mode=False)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise HwgenError(f"not a valid ONNX model: {_first_line(error)}; export the model again") from None
    except (EncodeError, ValueError, RuntimeError, TypeError, MemoryError) as error:
        raise HwgenError(f"ONNX's checker fails on this model: {_first_line(error)}; export the model again") from None
    return model


def _first_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]


def _check_interface(graph: onnx.GraphProto) -> None:
    constants = {t.name for t in graph.initializer}
    inputs = [i for i in graph.input if i.name not in constants]
    for what, values in (("input", inputs), ("output", graph.output)):
        if len(values) != 1:
            names = ", ".join(v.name for v in values) or "none"
            raise HwgenError(f"the model must have one {what}, not {len(values)} ({names}); export it with a single {what}")
    value = inputs[0]
    tensor = value.type.tensor_type
    where = f"input {value.name}"
    if not value.type.HasField("tensor_type") or not tensor.HasField("shape"):
        raise HwgenError(f"{where}: must be a tensor of known shape; export the model with a static input shape")
    if tensor.elem_type not in (TensorProto.FLOAT, TensorProto.INT8, TensorProto.UINT8):
        raise HwgenError(f"{where}: must be float32, int8 or uint8, not {_type_name(tensor.elem_type)}")
    if not 2 <= len(tensor.shape.dim) <= 4:
        raise HwgenError(f"{where}: must have 2 to 4 dimensions with the batch, not {len(tensor.shape.dim)}")
    for axis, dim in enumerate(tensor.shape.dim):
        if dim.HasField("dim_value"):
            if not 0 < dim.dim_value <= LIMIT:
                raise HwgenError(f"{where}: dimension {axis} must be in 1..{LIMIT}, not {dim.dim_value}")
            if axis == 0 and dim.dim_value != 1:
                raise HwgenError(f"{where}: the batch must be 1 or dynamic, not {dim.dim_value}; export it for one frame")
        elif axis:
            raise HwgenError(f"{where}: dimension {axis} ({dim.dim_param or '?'}) is dynamic; export with a fixed size")


def _check_node(node: onnx.NodeProto) -> None:
    where = f"{node.op_type} {node.name or (node.output[0] if node.output else '')}"
    for a in node.attribute:
        for i in (*a.ints, a.i):
            if abs(i) > LIMIT and node.op_type not in ("Constant", "Cast", "Slice"):
                raise HwgenError(f"{where}: attribute {a.name} must be in ±{LIMIT}, not {i}")
        if not np.isfinite([a.f, *a.floats]).all() and node.op_type != "Constant":
            raise HwgenError(f"{where}: attribute {a.name} must be finite")
        if a.HasField("t"):
            _check_tensor(a.t, where)


def _check_names(graph: onnx.GraphProto) -> None:
    constants = {t.name for t in graph.initializer}
    made = [t.name for t in graph.initializer] + [i.name for i in graph.input if i.name not in constants]
    made += [o for n in graph.node for o in n.output if o]
    for name in made:
        if not name:
            raise HwgenError("tensors must have names; export the model again")
    if len(set(made)) != len(made):
        twice = sorted({n for n in made if made.count(n) > 1}) if len(made) < 10_000 else []
        raise HwgenError(f"tensor names must be unique, these are made twice: {', '.join(twice[:5])}; export the model again")
    known = set(made)
    for node in graph.node:
        for i in node.input:
            if i and i not in known:
                raise HwgenError(f"{node.op_type} {node.name}: its input {i} is made by nothing; export the model again")
    if graph.output[0].name not in known:
        raise HwgenError(f"output {graph.output[0].name}: is made by nothing; export the model again")


def _check_order(graph: onnx.GraphProto) -> None:
    """Sort the nodes topologically in place."""
    have = {t.name for t in graph.initializer} | {i.name for i in graph.input} | {""}
    waiting, ordered = list(graph.node), []
    while waiting:
        ready = [n for n in waiting if have.issuperset(n.input)]
        if not ready:
            raise HwgenError(f"operators form a cycle: {', '.join(n.name or n.op_type for n in waiting[:5])}; export it again")
        ordered += ready
        have.update(o for n in ready for o in n.output)
        done = {id(n) for n in ready}
        waiting = [n for n in waiting if id(n) not in done]
    if any(a is not b for a, b in zip(ordered, graph.node, strict=True)):
        copies = [onnx.NodeProto() for _ in ordered]
        for copy, node in zip(copies, ordered, strict=True):
            copy.CopyFrom(node)
        del graph.node[:]
        graph.node.extend(copies)


def _type_name(elem_type: int) -> str:
    try:
        return TensorProto.DataType.Name(elem_type).lower()
    except ValueError:
        return f"type {elem_type}"


def _check_tensor(tensor: TensorProto, where: str = "") -> None:
    """Type, size and values of a constant."""
    where = f"{where}: constant" if where else f"initializer {tensor.name}"
    if tensor.data_type not in TYPES:
        raise HwgenError(f"{where}: {_type_name(tensor.data_type)} is not supported; quantise to int8 or uint8")
    if tensor.data_location == TensorProto.EXTERNAL:
        raise HwgenError(f"{where}: external data must be loaded first; use load_onnx on the file")
    if any(not 0 <= d <= LIMIT for d in tensor.dims):
        raise HwgenError(f"{where}: dimensions must be in 0..{LIMIT}, not {list(tensor.dims)}")
    elements = int(np.prod([int(d) for d in tensor.dims], dtype=object)) if tensor.dims else 1
    size = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)).itemsize
    fields: dict[int, Any] = {TensorProto.FLOAT: tensor.float_data, TensorProto.INT64: tensor.int64_data}
    stored = (
        len(tensor.raw_data) / size if tensor.HasField("raw_data") else len(fields.get(tensor.data_type, tensor.int32_data))
    )
    if stored != elements:
        raise HwgenError(f"{where}: must hold {elements} values for its shape {list(tensor.dims)}, not {stored:g}")
    if not np.isfinite(_array(tensor, where)).all():
        raise HwgenError(f"{where}: holds NaN or infinite values; train or export the model again")


def _array(tensor: TensorProto, where: str) -> np.ndarray:
    try:
        return numpy_helper.to_array(tensor)
    except (ValueError, TypeError, OverflowError) as error:
        raise HwgenError(f"{where}: cannot be read: {_first_line(error)}") from None
