import os
import threading
from pathlib import Path

import numpy as np
import pytest

from hwgen.arith import IntType
from hwgen.cache import cache_folder
from hwgen.errors import HwgenError
from hwgen.hardware.bench import pack, unpack
from hwgen.hardware.emit import emit
from hwgen.hardware.verilator import KEPT, _forget
from hwgen.simulation import simulate
from tests.hardware.designs import fifos

FRAMES = np.random.default_rng(1).integers(-128, 128, (30, 20, 1, 3))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("tiny")
    emit(fifos(), path)
    return path


def all_of(frames):
    return {"x": frames, "m": frames, "y": frames}


@pytest.mark.parametrize("stalls", [None, 0, 1, 2])
def test_every_tensor_is_compared(folder, stalls):
    seen = []
    result = simulate(folder, FRAMES, all_of(FRAMES), stalls=stalls, progress=seen.append)
    assert (result.frames, result.elements_compared, result.mismatches) == (30, 3 * FRAMES.size, 0)
    assert result.first_mismatch is None
    assert (result.output == FRAMES).all()
    assert seen == sorted(seen)
    assert all(0 <= n <= 30 for n in seen)
    assert len(result.intervals) == 29
    if stalls is None:
        assert (result.interval_cycles, set(result.intervals.tolist())) == (20, {20})
        assert (
            result.latency_cycles == 23
        )  # 20 words, 2 cycles in each FIFO: the last of 20 leaves 19 + 4 cycles after the first
    else:
        assert result.intervals.max() > 20


def test_first_mismatch_is_located(folder):
    expected = all_of(FRAMES)
    expected["y"] = FRAMES + (np.arange(FRAMES.size).reshape(FRAMES.shape) % 50 == 0)
    expected["m"] = FRAMES.copy()
    expected["m"][7, 3, 0, 1] += 2
    result = simulate(folder, FRAMES, expected, stalls=4)
    assert result.by_tensor == {"x": 0, "m": 1, "y": FRAMES.size // 50}
    assert result.mismatches == 1 + FRAMES.size // 50
    got = int(FRAMES[7, 3, 0, 1])
    place = "frame 7, element [3, 0, 1]"
    assert str(result.first_mismatch) == f"layer m (m_quantized): {place}: expected {got + 2}, got {got}"


def test_output_alone_and_a_single_frame(folder):
    result = simulate(folder, FRAMES[:1], {"y": FRAMES[:1]})
    assert (result.elements_compared, result.interval_cycles, len(result.intervals)) == (60, None, 0)


@pytest.mark.parametrize(
    ("element", "lanes"), [(IntType(5, False), 3), (IntType(11), 2), (IntType(1, False), 4), (IntType(24), 7), (IntType(56), 1)]
)
def test_codec(element, lanes):
    rng = np.random.default_rng(2)
    words = rng.integers(element.min, element.max, (50, lanes), endpoint=True)
    words[0], words[1] = element.min, element.max
    raw = pack(words, element)
    assert raw.shape == (50, -(-lanes * element.bits // 8))
    assert (unpack(raw, element, lanes) == words).all()
    first = int.from_bytes(raw[2].tobytes(), "little")
    assert first & ((1 << element.bits) - 1) == int(words[2, 0]) & ((1 << element.bits) - 1)


def test_odd_widths(tmp_path):
    element = IntType(11)
    emit(fifos(element=element, lanes=5, name="odd"), tmp_path)
    frames = np.random.default_rng(3).integers(element.min, element.max, (10, 20, 1, 5), endpoint=True)
    result = simulate(tmp_path, frames, all_of(frames), stalls=1)
    assert (result.mismatches, result.elements_compared) == (0, 3 * frames.size)


def broken(folder, path, *changes):
    """A copy of the design in ``folder`` with text replaced that must occur once."""
    path.mkdir()
    text = (folder / "tiny.v").read_text()
    for old, new in changes:
        assert text.count(old) == 1
        text = text.replace(old, new)
    (path / "tiny.v").write_text(text)
    (path / "design.json").write_text((folder / "design.json").read_text())
    return path


def test_hang_names_the_streams(folder, tmp_path):
    stuck = broken(
        folder,
        tmp_path / "stuck",
        ("    .i__ready(s_axis_tready),", "    .i__ready(),"),
        ("    .w_en(s_axis_tvalid)", "    .w_en(s_axis_tvalid & s_axis_tready)"),
        (
            "  tiny_first first (",
            "  reg [5:0] taken = 0;\n  always @(posedge clk) if (s_axis_tvalid & s_axis_tready) taken <= taken + 1;\n"
            "  assign s_axis_tready = taken != 25;\n  tiny_first first (",
        ),
    )
    with pytest.raises(HwgenError, match=r"^the accelerator did not finish 30 frames: after \d+ cycles nothing moved") as error:
        simulate(stuck, FRAMES, all_of(FRAMES))
    assert "m_axis: 25 of 600 words" in str(error.value)
    assert "streams with a word that nobody takes: s_axis, input_probe" in str(error.value)


def test_surplus_words_are_reported(folder, tmp_path):
    offered = "  assign m_axis_tvalid = second__o__valid;"
    chatty = broken(folder, tmp_path / "chatty", (offered, "  assign m_axis_tvalid = 1;"))
    with pytest.raises(HwgenError, match=r"^(more words than 1 frames have came out of|a word was withdrawn or changed)"):
        simulate(chatty, FRAMES[:1], {})


def test_cycle_limit(folder):
    many = np.tile(FRAMES, (400, 1, 1, 1))
    with pytest.raises(HwgenError, match=r"^the accelerator did not finish 12000 frames: after \d+ cycles it was stopped"):
        simulate(folder, many, {}, limit_cycles=1000)


@pytest.mark.slow
def test_waveform(folder, tmp_path):
    trace = tmp_path / "waves.fst"
    assert simulate(folder, FRAMES[:2], all_of(FRAMES[:2]), trace=trace).mismatches == 0
    assert trace.stat().st_size > 1000
    assert trace.read_bytes()[:9] == b"\0" + (329).to_bytes(8, "big")  # an FST file starts with its header block
    with pytest.raises(HwgenError, match=r"^cannot write the waveform .*none/waves\.fst: there is no such folder$"):
        simulate(folder, FRAMES[:2], {}, trace=tmp_path / "none" / "waves.fst")


def test_bad_arguments(folder, tmp_path):
    with pytest.raises(ValueError, match=r"^expected must name tensors of the design, not z$"):
        simulate(folder, FRAMES, {"z": FRAMES})
    with pytest.raises(ValueError, match=r"^frames must be \(N, 20, 1, 3\), not \(30, 20, 3\)$"):
        simulate(folder, FRAMES[:, :, 0], {})
    with pytest.raises(ValueError, match=r"^expected y must be \(30, 20, 1, 3\), not \(29, 20, 1, 3\)$"):
        simulate(folder, FRAMES, {"y": FRAMES[1:]})
    with pytest.raises(HwgenError, match=r"is not a folder that hwgen made: it has no design\.json$"):
        simulate(tmp_path, FRAMES, {})


@pytest.mark.slow
def test_damaged_model_is_built_anew_by_two_at_once(folder, tmp_path, monkeypatch):
    """The cache of this test starts as a copy of what the other tests use, then its model is cut short."""
    simulate(folder, FRAMES[:1], {})
    root = cache_folder() / "verilated"
    copy = tmp_path / "verilated"
    copy.mkdir()
    for entry in root.iterdir():
        if entry.is_dir() and entry.name.startswith("runtime-"):
            (copy / entry.name).symlink_to(entry)
    monkeypatch.setenv("HWGEN_CACHE", str(tmp_path))
    simulate(folder, FRAMES[:1], {})
    (model,) = copy.glob("*/model")
    model.write_bytes(model.read_bytes()[:1000])
    failed = []

    def run():
        try:
            simulate(folder, FRAMES[:1], {"y": FRAMES[:1]})
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    assert model.stat().st_size > 1000


def test_another_process_ends_its_build_meanwhile(tmp_path, monkeypatch):
    for number in range(KEPT + 2):
        entry = tmp_path / f"model-{number}"
        entry.mkdir()
        (entry / "model").touch()
        os.utime(entry, (number, number))
    (tmp_path / "build-of-another").mkdir()
    is_dir = Path.is_dir

    def goes(path):
        found = is_dir(path)
        if path.name.startswith("build-"):
            path.rmdir()
        return found

    monkeypatch.setattr(Path, "is_dir", goes)
    _forget(tmp_path)
    assert {entry.name for entry in tmp_path.iterdir()} == {f"model-{number}" for number in range(2, KEPT + 2)}


def test_broken_verilog_is_reported(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("HWGEN_CACHE", str(tmp_path / "cache"))  # others build in the shared one
    (tmp_path / "design.json").write_text((folder / "design.json").read_text())
    (tmp_path / "tiny.v").write_text("module tiny(; endmodule")
    with pytest.raises(HwgenError, match=r"^verilator failed:\n(?s:.*)syntax error"):
        simulate(tmp_path, FRAMES, {})
    assert (tmp_path / "cache").is_dir()
    assert not list((tmp_path / "cache").rglob("build-*"))
