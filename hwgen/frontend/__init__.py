"""From ONNX files to :class:`hwgen.graph.Graph`."""

from .importer import OperatorReport, explain, import_model, reference_model
from .load import check_model, load_onnx

__all__ = ["OperatorReport", "check_model", "explain", "import_model", "load_onnx", "reference_model"]
