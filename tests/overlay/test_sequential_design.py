"""The sequential engine behind streams: emitted, simulated, compared with ONNX Runtime; and over its link."""

import json
import re
import shutil
import zlib
from dataclasses import replace

import numpy as np
import pytest

from hwgen import flow, simulation
from hwgen.demo import MODEL, SAMPLES
from hwgen.errors import HwgenError
from hwgen.expected import expected_tensors
from hwgen.frontend import import_model
from hwgen.hardware.emit import emit
from hwgen.host.device import run_file
from hwgen.host.serve import simulated_board
from hwgen.inputs import make_frames
from hwgen.output import MANIFEST, read_manifest
from hwgen.overlay.lower import compile_graph
from hwgen.overlay.parts import engine_part
from hwgen.overlay.shape import Wish
from hwgen.overlay.small.design import SEQUENTIAL, sequential
from hwgen.overlay.small.resident import SequentialParams
from hwgen.timing import predict
from tests.overlay.test_on_chip import SPECS
from tests.random_networks import build, frames
from tests.shared_models import MODELS, needs_models


def design_of(name):
    """The design of a described network, its image, its frames, and what ONNX Runtime computes."""
    model = build(SPECS[name])
    graph = replace(import_model(model), name="net")
    head, _ = engine_part(graph)
    given = make_frames(graph, frames(SPECS[name])).limited(3)
    expected, _ = expected_tensors(graph, model, given)
    design, image = sequential(head, compile_graph(head, SEQUENTIAL))
    return design, image, given.hardware, expected


@pytest.mark.parametrize("stalls", [None, 1])
@pytest.mark.parametrize("name", SPECS)
def test_frames(name, stalls, tmp_path):
    """Of both orientations, with and without a sign; cycles exactly as predicted."""
    design, image, given, expected = design_of(name)
    (tmp_path / "image.bin").write_bytes(image)
    session = {"file": "image.bin", "bytes": len(image), "crc32": zlib.crc32(image)}
    emit(design, tmp_path, choice={"session": session})
    run = simulation.simulate(tmp_path, given, {n: t for n, t in expected.items() if n in design.carriers}, stalls=stalls)
    assert not run.mismatches, run.first_mismatch
    assert design.graph.output in design.carriers
    timing = predict(design)
    if stalls is None:
        assert (run.latency_cycles, run.interval_cycles) == (timing.latency, timing.interval)


def test_compute():
    """The template's meaning is the program's; of a frame's words all come before its first output."""
    design, _, given, expected = design_of("columns")
    (stage,) = design.stages
    (made,) = stage.compute(given.reshape(-1, 1))
    assert (made.reshape(3, -1) == expected[design.graph.output].reshape(3, -1)).all()
    outputs, words = np.arange(2 * stage.params.outputs[0].words), stage.params.inputs[0].words
    assert stage.params.needed(outputs).tolist() == sorted([words, 2 * words] * (len(outputs) // 2))
    assert stage.params.accepted(outputs).tolist() == stage.params.needed(outputs).tolist()


def test_one_hardware_for_all_networks():
    """But for the number of a frame's bytes."""
    params = [design_of(name)[0].stages[0].params for name in SPECS]
    assert len({str(p.cost().resources) for p in params}) == 1
    with pytest.raises(ValueError, match=r"^engine must be sequential, not Engine\(rows=1, "):
        replace(params[0], engine=replace(SEQUENTIAL, sequential=False))
    assert isinstance(params[0], SequentialParams)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sequential") / "digits"
    return folder, flow.build(MODEL, "icebreaker", folder, style="overlay")


def test_build_and_simulate(built):
    folder, result = built
    run = flow.simulate(folder, SAMPLES, limit=2)
    assert run.mismatches == 0
    assert run.elements_compared == 2 * 2378
    assert (run.latency_cycles, run.interval_cycles) == (result.latency_cycles, result.interval_cycles)
    assert run.predicted_latency_cycles == run.latency_cycles
    assert result.chosen == "the only one for the board"
    manifest = read_manifest(folder)
    assert (manifest["session"]["bytes"], manifest["host"]) == (1 << 16, [])
    assert run.outputs.shape == (2, 10)


def test_over_the_link(built):
    """The image, then frames; again in the next session."""
    folder, _ = built
    wanted = flow.simulate(folder, SAMPLES, limit=2).outputs
    with simulated_board(folder) as board:
        for _ in range(2):
            result = run_file(folder, board.port, SAMPLES, limit=2)
            assert (result.outputs == wanted).all()


def test_damaged_image(built, tmp_path):
    folder = tmp_path / "damaged"
    shutil.copytree(built[0], folder)
    image = bytearray((folder / "image.bin").read_bytes())
    image[100] ^= 1
    (folder / "image.bin").write_bytes(image)
    with pytest.raises(HwgenError, match=r"image\.bin is damaged: its checksum is not that of the build; build it again$"):
        flow.simulate(folder)
    (folder / "image.bin").unlink()
    with pytest.raises(HwgenError, match=r"^cannot read .*image\.bin: No such file or directory; build it again$"):
        flow.simulate(folder)
    assert json.loads((folder / MANIFEST).read_text())["on_chip"]


def test_wishes(tmp_path):
    message = (
        "--array, --multipliers, --lanes, --scratchpad, --axi-width and --on-chip choose among engines, and for "
        "icebreaker there is one: leave them out"
    )
    with pytest.raises(HwgenError, match=f"^{re.escape(message)}$"):
        flow.build(MODEL, "icebreaker", tmp_path / "x", style="overlay", wish=Wish(array=(2, 2)))


@needs_models
def test_too_many_weights(tmp_path):
    message = r"^the weights alone take \d+ bytes of external memory, and there are 65536; choose a larger board$"
    with pytest.raises(HwgenError, match=message):
        flow.build(MODELS / "ic" / "ic_int8_qdq_nchw.onnx", "icebreaker", tmp_path / "x", style="overlay")


@needs_models
@pytest.mark.slow
def test_kws(tmp_path):
    """A softmax at the end is the host's."""
    folder = tmp_path / "kws"
    flow.build(MODELS / "kws" / "kws_int8_qdq_nchw.onnx", "icebreaker", folder, style="overlay")
    run = flow.simulate(folder, MODELS / "kws" / "samples.npz", limit=2)
    assert run.mismatches == 0
    assert run.latency_cycles == run.predicted_latency_cycles < 900_000
    assert read_manifest(folder)["host"]
