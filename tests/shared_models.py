"""Where the trained networks for the tests lie: ``HWGEN_MODELS``, or ``shared/models`` beside the repository."""

import os
from pathlib import Path

import pytest

MODELS = Path(os.environ.get("HWGEN_MODELS") or Path(__file__).parents[2] / "shared" / "models")
needs_models = pytest.mark.skipif(not MODELS.is_dir(), reason="the shared models are absent (HWGEN_MODELS)")
FILES = [f"{n}/{n}_int8_qdq_{form}.onnx" for n in ("kws", "ic", "vww", "ad") for form in ("nchw", "tf2onnx")]
FILES += ["digits/digits_cnn_int8_qdq_sym_perch.onnx", "digits/digits_cnn_int8_qdq_asym_u8.onnx"]
