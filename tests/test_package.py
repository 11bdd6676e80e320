"""The functions that the package offers, and what does not depend on a network."""

import subprocess
import sys
from pathlib import Path

import pytest

import hwgen
from hwgen import flow
from hwgen.demo import MODEL
from hwgen.frontend import load_onnx


def test_functions_of_the_command_line():
    assert (hwgen.check, hwgen.build, hwgen.simulate) == (flow.check, flow.build, flow.simulate)
    with pytest.raises(AttributeError, match=r"^module 'hwgen' has no attribute 'synthesise'$"):
        hwgen.synthesise  # noqa: B018


def test_importing_the_package_is_quick():
    program = "import sys, hwgen; print('onnxruntime' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout == "False\n"


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("kws.onnx", "kws"),
        ("my net-2.1.onnx", "my_net_2_1"),
        ("2.onnx", "net_2"),
        ("small.onnx", "net_small"),
        ("数.onnx", "net"),
    ],
)
def test_designs_are_named_after_their_file_and_verilog_takes_the_name(file, name):
    assert flow.read_graph(load_onnx(MODEL), Path(file)).name == name


def test_styles():
    with pytest.raises(ValueError, match=r"^style must be dataflow, overlay or auto, not 'systolic'$"):
        hwgen.build(MODEL, "ulx3s-85f", style="systolic")
