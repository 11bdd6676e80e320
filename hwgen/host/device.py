"""A board at a serial port, with the accelerator of a build folder on it."""

import errno
import secrets
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import serial
from serial.tools.list_ports import comports

from ..arith import IntType
from ..errors import HwgenError
from ..frontend import import_model, load_onnx
from ..hardware.bench import pack, unpack
from ..hardware.link import BAUD, link_params
from ..hardware.packets import Kind
from ..hardware.top import axis
from ..inputs import Frames, host_outputs, load_frames, make_frames
from ..output import MODEL, read_manifest, read_session
from ..overlay.parts import engine_part, host_part
from ..results import RunResult
from ..streams import Stream
from .protocol import BoardPacket, Decoder, Identity, Transfer, TransferError, encode

__all__ = ["Device", "run_file"]

_PATIENCE = 10.0  #: seconds without a packet, until the board counts as dead
_STILL = 60.0  #: seconds in which the board answers and nothing moves, until the accelerator counts as stuck
_SESSIONS = 50  #: begun without a frame in between, until the board counts as faulty
_AHEAD = 16_384  #: bytes of input kept ready


class Device:
    """A board with the accelerator of ``folder`` at the serial port ``port``; a context manager.

    Each call of :meth:`run` computes what ``hwgen simulate`` would: the numbers of ONNX Runtime.

    Parameters
    ----------
    folder
        What ``hwgen build`` wrote.
    port
        Path of the serial port, or of the pseudo-terminal of ``hwgen simulate --serve``.
    baud
        As the bitstream was built for; a pseudo-terminal does not care.

    Raises
    ------
    HwgenError
        If there is no such port or it is in use; if there is no board, or it has another bitstream or does not answer; if it
        is unplugged; if inputs do not fit the model.
    """

    def __init__(self, folder: Path | str, port: str, *, baud: int = BAUD):
        if not 0 < baud < 1 << 31:
            raise ValueError(f"baud must be in 1..{(1 << 31) - 1}, not {baud!r}")
        self.folder, self.port, self.baud = Path(folder), port, baud
        manifest = read_manifest(self.folder)
        self.graph = import_model(load_onnx(self.folder / MODEL))
        self.params = link_params(self.folder, 4)
        self.session = read_session(self.folder, manifest)
        self.made = tuple(manifest["tensors"][manifest["output"]["tensor"]]["shape"])
        self.tail = engine_part(self.graph)[1] if manifest.get("host") else None
        self.input, self.output = (_axis_stream(manifest[side]["stream"]) for side in ("input", "output"))
        self.serial: serial.Serial | None = None
        self.transfer: Transfer | None = None
        self.decoder = Decoder()
        self.bytes, self.heard = 0, 0.0  # that came; when the last packet did

    def __enter__(self) -> "Device":
        self.serial = _open(self.port, self.baud)
        try:
            self._begin()
        except BaseException:
            self.serial.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        assert self.serial is not None
        self.serial.close()

    def run(self, inputs: np.ndarray, progress: Callable[[float], None] | None = None) -> np.ndarray:
        """The model's outputs for ``inputs`` (N, ...): real numbers or quantised, in the model's layout."""
        return self.measure(make_frames(self.graph, np.asarray(inputs)), progress).outputs

    def measure(self, given: Frames, progress: Callable[[float], None] | None = None) -> RunResult:
        """As :meth:`run`, with what the way there and back took."""
        frames = given.hardware
        began, damaged, resent, sessions = time.perf_counter(), self.decoder.damaged, 0, 0
        done: list[tuple[bytes, int, int]] = []  # output, cycle of its last word, session
        again = f"load its bitstream again with `hwgen program {self.folder}`"

        def stopped() -> str:
            return f"stopped after {len(done)} of {len(frames)} frames"

        still = self.heard = time.monotonic()
        vain = 0  # sessions since the last frame
        try:
            while len(done) < len(frames):
                transfer = self.transfer
                if transfer is None:
                    if vain == _SESSIONS:
                        raise HwgenError(f"the board on {self.port} {stopped()}: {vain} sessions broke off")
                    self._begin()
                    sessions += 1
                    vain += 1
                    continue
                before = transfer.resent
                try:
                    moved = self._step(transfer, frames, len(done))
                except TransferError:
                    self.transfer = None
                    moved = False
                resent += transfer.resent - before
                while transfer.frames:
                    done.append((*transfer.frames.popleft(), transfer.session))
                    vain = 0
                now = time.monotonic()
                if moved:
                    still = now
                    if progress is not None:
                        progress(len(done) / len(frames))
                elif now - self.heard > _PATIENCE:
                    raise HwgenError(f"the board on {self.port} {stopped()}: it answers no more; {again}")
                elif now - still > _STILL:
                    raise HwgenError(f"the accelerator on {self.port} {stopped()}: nothing has moved for {_STILL:g} s; {again}")
        except BaseException:
            self.transfer = None  # the next run begins anew
            raise
        raw = np.frombuffer(b"".join(output for output, *_ in done), np.uint8).reshape(-1, self.output.bits // 8)
        (_, earlier, one), (_, last, other) = done[-2:] if len(done) > 1 else ((b"", 0, 0), (b"", 0, 1))
        made = unpack(raw, self.output.element, self.output.lanes).reshape(len(frames), *self.made)
        made = host_part(self.tail, self.graph, made).get(self.graph.output, made)
        return RunResult(
            frames=len(done),
            seconds=time.perf_counter() - began,
            resent_bytes=resent,
            damaged_packets=self.decoder.damaged - damaged,
            sessions=sessions,
            interval_cycles=(last - earlier) & 0xFFFF_FFFF if one == other else None,
            outputs=host_outputs(self.graph, made),
        )

    def _step(self, transfer: Transfer, frames: np.ndarray, done: int) -> bool:
        """Send what can be sent, take in what has come; whether anything moved."""
        base = done - transfer.answered  # the session's first frame
        while transfer.unsent < _AHEAD and base + transfer.added < len(frames):
            words = frames[base + transfer.added].reshape(-1, self.input.lanes)
            transfer.add(pack(words, self.input.element).tobytes())
        self._write(transfer.send(time.monotonic(), expecting=True))
        moved = False
        for packet in self._packets():
            moved |= transfer.receive(packet, time.monotonic())
        return moved

    def _begin(self) -> None:
        """A new session: the board and all in it as after power-up."""
        session = 1 + secrets.randbelow(0xFFFF)
        end, repeat, pause, before = time.monotonic() + _PATIENCE, 0.0, 0.1, self.bytes
        while (now := time.monotonic()) < end:
            if now >= repeat:
                self._write(encode(Kind.RESET, session, 0, 0))
                repeat, pause = now + pause, min(2 * pause, 1.0)
            for packet in self._packets():
                if packet.kind == Kind.RESET and packet.session == session:
                    identity = Identity.read(packet.payload)
                    self._check(identity)
                    self.transfer = Transfer(identity, session, time.monotonic())
                    self.transfer.queue(self.session)
                    return
        came = self.bytes - before
        what = (
            f"what answers on {self.port} is not hwgen's: {came} bytes came, no packet;"
            if came
            else f"nothing answers on {self.port}:"
        )
        raise HwgenError(f"{what} is it the board's port, and is the bitstream on the board? (`hwgen program {self.folder}`)")

    def _check(self, identity: Identity) -> None:
        wanted = self.params.design_id
        if identity.design_id != wanted:
            raise HwgenError(
                f"the board on {self.port} has another bitstream: design {identity.design_id.hex()}, not {wanted.hex()} "
                f"of {self.folder}; load this one with `hwgen program {self.folder}`"
            )

    def _write(self, data: bytes) -> None:
        if data:
            self._call(lambda port: port.write(data))

    def _packets(self) -> list[BoardPacket]:
        """What has come since; waits a little if nothing has."""
        received = self._call(lambda port: port.read(max(1, port.in_waiting)))
        self.bytes += len(received)
        packets = list(self.decoder.feed(received))
        if packets:
            self.heard = time.monotonic()
        return packets

    def _call(self, use: Callable[[serial.Serial], Any]) -> Any:
        if self.serial is None or not self.serial.is_open:
            raise ValueError("the device must be open: use it in a with block")
        try:
            return use(self.serial)
        except (serial.SerialException, OSError, TypeError) as error:  # TypeError: pyserial, of a port that vanishes
            raise HwgenError(f"the connection to {self.port} broke off; was the board unplugged? ({error})") from error


def run_file(
    folder: Path,
    port: str,
    inputs: Path,
    *,
    outputs: Path | None = None,
    limit: int | None = None,
    baud: int | None = None,
    progress: Callable[[str, float], None] | None = None,
) -> RunResult:
    """Have the board at ``port`` compute the frames of file ``inputs``; write the array ``outputs`` to file ``outputs``.

    Raises
    ------
    HwgenError
        As :class:`Device`; or if a file cannot be read or written.
    """
    device = Device(folder, port, baud=baud or BAUD)
    frames = load_frames(inputs, device.graph).limited(limit)
    tell = None if progress is None else (lambda share: progress("running", share))
    if outputs is not None:
        _save(outputs, None)
    with device:
        result = device.measure(frames, tell)
    if outputs is not None:
        _save(outputs, result.outputs)
    return result


def _save(path: Path, array: np.ndarray | None) -> None:
    """Write ``array`` as ``outputs`` into file ``path``, whole or not at all; None: only try whether it could be written."""
    part = path.with_name(f".{path.name}.part")
    try:
        if not path.absolute().parent.is_dir() or path.is_dir():
            raise HwgenError(f"cannot write {path}: {'it is a folder' if path.is_dir() else 'there is no such folder'}")
        with open(part, "wb") as file:
            if array is not None:
                np.savez(file, outputs=array)
        if array is not None:
            part.replace(path)
    except OSError as error:
        raise HwgenError(f"cannot write {path}: {error.strerror}") from error
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


def _open(port: str, baud: int) -> serial.Serial:
    if not port or (Path(port).exists() and not Path(port).is_char_device()):
        raise HwgenError(f"cannot open {port or repr(port)}: it is not a serial port; {_ports()}")
    try:
        opened = serial.Serial(port, baud, timeout=0.01, write_timeout=_PATIENCE, exclusive=True)
    except (serial.SerialException, OSError, ValueError) as error:
        denied = "permission denied; on Linux, add yourself to the group that owns it (often dialout) and log in again"
        reasons = {
            errno.ENOENT: f"there is no such port; {_ports()}",
            errno.EACCES: denied,
            errno.EPERM: denied,
            errno.EBUSY: "it is in use by another program: end that first",
            errno.EAGAIN: "it is in use by another program: end that first",
            errno.ENOTTY: "it is not a serial port",
            errno.ENXIO: "its board is not there: plug it in",
            errno.ENODEV: "its board is not there: plug it in",
        }
        # pyserial may hide the number in what it says
        number = getattr(error, "errno", None) or (errno.ENOTTY if f"({errno.ENOTTY}, " in str(error) else 0)
        raise HwgenError(f"cannot open {port}: {reasons.get(number, str(error))}") from error
    with suppress(OSError, ValueError, NotImplementedError, AttributeError):  # other ports have no such mode
        opened.set_low_latency_mode(True)  # USB adapters otherwise wait up to 16 ms for more bytes
    return opened


def _ports() -> str:
    """The serial ports that there are."""
    found = sorted(port.device for port in comports())
    return f"there is {' and '.join(found)}" if found else "there is none at all: is the board plugged in?"


def _axis_stream(entry: dict[str, Any]) -> Stream:
    return axis(Stream(element=IntType(entry["bits"], entry["signed"]), lanes=entry["lanes"], words=entry["words"]))
