"""Device families with open place-and-route: what differs between them."""

from ...board import Board
from .base import Device, Route
from .ecp5 import Ecp5
from .gowin import Gowin
from .ice40 import Ice40

__all__ = ["Device", "Route", "device_of"]


def device_of(board: Board) -> Device:
    """The device of ``board``; ``ValueError`` where no open tool places and routes it."""
    platform = board.platform_class()
    match board.flow:
        case "ecp5" if platform:
            return Ecp5(board.device, platform.device, platform.package, platform.speed)  # type: ignore[attr-defined]
        case "ice40" if platform:
            return Ice40(board.device, platform.device, platform.package)  # type: ignore[attr-defined]
        case "gowin" if platform:
            return Gowin(platform.part, platform.family)  # type: ignore[attr-defined]
    raise ValueError(f"board must be placed and routed by open tools, which {board.name} ({board.flow}) is not")
