"""From ONNX files to :class:`hwgen.graph.Graph`."""

from .calibration import load_samples, quantize_float
from .importer import OperatorReport, explain, import_model, reference_model
from .load import check_model, load_onnx, read_onnx

__all__ = [
    "OperatorReport", "check_model", "explain", "import_model", "load_onnx", "load_samples", "quantize_float", "read_onnx",
    "reference_model",
]  # fmt: skip
