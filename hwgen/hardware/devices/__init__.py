"""Device families with open place-and-route: what differs between them."""

from typing import Any

from ...board import Board
from ...errors import HwgenError
from .base import Device, Route
from .ecp5 import Ecp5
from .gowin import Gowin
from .ice40 import Ice40

__all__ = ["Device", "Route", "device_of"]


def device_of(board: Board) -> Device:
    """The device of ``board``; ``ValueError`` where no open tool places and routes it, ``HwgenError`` where hwgen does not."""
    platform: Any = board.platform_class()
    try:
        match board.flow:
            case "ecp5" if platform:
                return Ecp5(board.device, platform.device, platform.package, platform.speed)
            case "ice40" if platform:
                return Ice40(board.device, platform.device, platform.package)
            case "gowin" if platform:
                return Gowin(platform.part, platform.family)
    except KeyError as unknown:
        raise HwgenError(f"board {board.name}: the flow {board.flow} does not know {unknown} of {board.platform}") from None
    raise ValueError(f"board must be placed and routed by open tools, which {board.name} ({board.flow}) is not")
