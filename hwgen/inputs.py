"""Frames as the user gives them, as ONNX Runtime wants them, and as the hardware takes them."""

import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .errors import HwgenError
from .graph import Graph, QuantType

__all__ = ["Frames", "dequantise", "host_outputs", "load_frames", "make_frames", "quantise", "random_frames"]

VECTOR_FRAMES = 3  #: random frames stored with a build


@dataclass(frozen=True, kw_only=True, eq=False)
class Frames:
    """The same frames twice.

    Parameters
    ----------
    model
        In the shape and type of the model's own input, batch dimension first.
    hardware
        (N, H, W, C) integers: what enters the accelerator.
    """

    model: np.ndarray
    hardware: np.ndarray

    def __len__(self) -> int:
        return len(self.hardware)

    def limited(self, limit: int | None) -> "Frames":
        return self if limit is None else Frames(model=self.model[:limit], hardware=self.hardware[:limit])


def quantise(real: np.ndarray, to: QuantType) -> np.ndarray:
    """QuantizeLinear on float32: ``clip(rint(real / scale) + zero_point)``, half to even."""
    with np.errstate(over="ignore"):  # clipped too
        steps = np.rint(real.astype(np.float32) / np.float32(to.scale)).astype(np.float64)
    return np.clip(steps + to.zero_point, to.integer.min, to.integer.max).astype(np.int64)


def dequantise(integers: np.ndarray, of: QuantType) -> np.ndarray:
    """DequantizeLinear: float32 ``(integer - zero_point) * scale``."""
    return (integers.astype(np.float32) - np.float32(of.zero_point)) * np.float32(of.scale)


def host_outputs(graph: Graph, integers: np.ndarray) -> np.ndarray:
    """What comes out of the accelerator, (N, H, W, C), as the model's own output: its shape and type."""
    outputs = graph.host_output.layout.to_onnx(integers)
    return dequantise(outputs, graph.tensors[graph.output].type) if graph.host_output.dtype == "float32" else outputs


def make_frames(graph: Graph, inputs: np.ndarray) -> Frames:
    """Frames from ``inputs`` (N, ...): real or quantised numbers, in the model's layout or with channels first or last."""
    tensor = graph.tensors[graph.input]
    own, layout = graph.host_input.layout.shape[1:], graph.host_input.layout
    height, width, channels = tensor.shape
    if inputs.dtype.kind not in "iuf":
        raise HwgenError(f"inputs must be numbers, not {inputs.dtype}")
    if not len(inputs.shape) or not len(inputs):
        raise HwgenError("inputs must hold at least one frame")
    given = inputs.shape[1:]
    if given == own:
        array = layout.from_onnx(inputs, tensor.shape)
    elif given == (channels, height, width):
        array = inputs.transpose(0, 2, 3, 1)
    elif given == tensor.shape:
        array = inputs
    else:
        shapes = " or ".join(map(_text, dict.fromkeys([own, (channels, height, width), tensor.shape])))
        single = inputs.shape in (own, (channels, height, width), tensor.shape)
        raise HwgenError(
            f"inputs must be frames of shape {shapes} for the model's input {graph.host_input.name!r}, not {_text(given)}"
            + (": put a dimension of 1 before the others of a single frame" if single else "")
        )
    if np.issubdtype(array.dtype, np.floating):
        if not (np.abs(array) <= np.finfo(np.float32).max).all():
            raise HwgenError("inputs must be finite float32 numbers: they hold NaN, infinite or larger values")
        real, integers = array.astype(np.float32), quantise(array, tensor.type)
    else:
        low, high = tensor.type.integer.min, tensor.type.integer.max
        if array.min() < low or array.max() > high:
            raise HwgenError(f"quantised inputs must be in {low}..{high}, not {array.min()}..{array.max()}")
        integers = array.astype(np.int64)
        real = dequantise(integers, tensor.type)
    wanted = real if graph.host_input.dtype == "float32" else integers
    return Frames(model=layout.to_onnx(wanted).astype(graph.host_input.dtype), hardware=integers)


def load_frames(path: Path, graph: Graph) -> Frames:
    """Frames from the array ``inputs`` of an ``.npz`` file."""
    try:
        with open(path, "rb") as file:
            archive = np.load(file, allow_pickle=False)
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise HwgenError(f"{path} must be an .npz file (numpy.savez), not a single array")
            if "inputs" not in archive:
                raise HwgenError(f"{path} must hold an array named 'inputs', it has {', '.join(archive.files) or 'none'}")
            inputs = archive["inputs"]
    except FileNotFoundError:
        raise HwgenError(f"no such file: {path}") from None
    except (OSError, ValueError, EOFError, AttributeError, zipfile.BadZipFile, zlib.error):
        raise HwgenError(f"{path} is not an .npz file (numpy.savez), is damaged, or holds no plain numbers") from None
    try:
        return make_frames(graph, inputs)
    except HwgenError as error:
        raise HwgenError(f"{path}: {error}") from None


def random_frames(graph: Graph, count: int, seed: int = 0) -> Frames:
    """Uniformly random frames over the whole range of the input's type."""
    tensor = graph.tensors[graph.input]
    rng = np.random.default_rng(seed)
    integers = rng.integers(tensor.type.integer.min, tensor.type.integer.max + 1, (count, *tensor.shape))
    return make_frames(graph, graph.host_input.layout.to_onnx(integers))


def _text(shape: tuple[int, ...]) -> str:
    return f"({', '.join(map(str, shape))})"
