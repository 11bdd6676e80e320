import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from hwgen.hardware.emit import emit, manifest, verilog
from hwgen.hardware.verilator import lint
from hwgen.hardware.verilog import _plain_identifiers
from tests.hardware.designs import fifos

ROOT = Path(__file__).resolve().parents[2]


def test_text_is_plain_verilog_with_readable_names():
    text = verilog(fifos())
    assert "\\" not in text
    modules = re.findall(r"^module (\w+)", text, re.M)
    assert modules == [
        "tiny",
        "tiny_first",
        "tiny_first_fifo",
        "tiny_second",
        "tiny_second_fifo",
    ]
    for wire in ("input__payload", "first__o__payload", "second__o__valid", "first__o__ready"):
        assert re.search(rf"^  wire (\[23:0\] )?{wire};$", text, re.M), wire


def test_identifiers_stay_distinct():
    text = r"wire a_1; wire \a$1 ; wire \a.1 ; wire \$1 ; wire n1; assign \a$1  = \$1 [3:0] + \table ;"
    plain = _plain_identifiers(text, {})
    assert plain == "wire a_1; wire a_1_; wire a_1__; wire n1_; wire n1; assign a_1_ = n1_[3:0] + table_;"


def test_lint_is_clean(tmp_path):
    emit(fifos(), tmp_path)
    assert lint([tmp_path / "tiny.vlt", tmp_path / "tiny.v"], "tiny") == ""
    assert "UNUSEDSIGNAL" in lint([tmp_path / "tiny.v"], "tiny")


SCRIPT = """
import sys
from pathlib import Path
import numpy as np
from hwgen.hardware.emit import emit
from tests.hardware.designs import fifos
emit(fifos(), Path(sys.argv[1]), board="b", figures={"interval": np.int64(20)}, vectors={"x": np.arange(5)})
"""


def test_same_bytes_whatever_the_surroundings(tmp_path):
    digests = []
    for k in range(2):
        folder, cwd = tmp_path / "/".join(["out"] * (k + 1)) / "final", tmp_path / f"cwd{k}"
        folder.mkdir(parents=True)
        cwd.mkdir()
        env = os.environ | {"PYTHONHASHSEED": str(k), "PYTHONPATH": str(ROOT)}
        subprocess.run([sys.executable, "-c", SCRIPT, str(folder)], cwd=cwd, env=env, check=True)
        files = sorted(p for p in folder.iterdir())
        assert [p.name for p in files] == ["design.json", "tiny.v", "tiny.vlt", "vectors.npz"]
        assert not any(str(tmp_path) in p.read_text(errors="replace") for p in files)
        digests.append([hashlib.sha256(p.read_bytes()).hexdigest() for p in files])
    assert digests[0] == digests[1]


def test_manifest(tmp_path):
    emit(fifos(), tmp_path, board="icebreaker", figures={"interval": np.int64(20)}, vectors={"x": np.arange(5)})
    got = json.loads((tmp_path / "design.json").read_text())
    assert got == json.loads(json.dumps(manifest(fifos(), board="icebreaker", figures={"interval": 20})))
    assert (got["hwgen"], got["name"], got["board"], got["figures"]) == (1, "tiny", "icebreaker", {"interval": 20})
    stream = {"bits": 8, "signed": True, "lanes": 3, "words": 20}
    params = {"depth": 4, "registered": False, "stream": {"element": {"bits": 8, "signed": True}, "lanes": 3, "words": 20}}
    assert got["stages"][0] == {"name": "first", "node": "", "template": "Fifo", "params": params, "cycles": 20}
    assert got["links"][0] == {"source": "", "sink": "first.i", "wires": "input", "stream": stream}
    assert {name: t["wires"] for name, t in got["tensors"].items()} == {"x": "input", "m": "first__o", "y": "second__o"}
    assert got["tensors"]["m"]["aliases"] == [{"name": "m_quantized", "axes": [2, 0, 1], "shape": [1, 3, 20, 1]}]
    with np.load(tmp_path / "vectors.npz") as vectors:
        assert vectors["x"].tolist() == [0, 1, 2, 3, 4]


def test_errors(tmp_path):
    with pytest.raises(ValueError, match=r"^design name must be a Verilog identifier, not 'module'$"):
        verilog(fifos(name="module"))
    with pytest.raises(TypeError, match=r"^a manifest must hold plain numbers and text, not \{1\}$"):
        emit(fifos(), tmp_path, figures={"x": {1}})
