"""Stopping on request: SIGTERM and Ctrl-C ask, the loop answers at its next step."""

import signal
import threading
from types import FrameType
from typing import Any


class StopRequest:
    """True once a stop was asked for; a second Ctrl-C interrupts at once.

    Use with `with`: the former handlers come back at its end. Outside the main thread,
    where Python allows no handlers, it stays False.
    """

    def __init__(self) -> None:
        self.signal: str | None = None
        self._former: dict[signal.Signals, Any] = {}

    def __bool__(self) -> bool:
        return self.signal is not None

    def __enter__(self) -> "StopRequest":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self._former[number] = signal.signal(number, self._ask)
        return self

    def __exit__(self, *error: object) -> None:
        while self._former:
            number, handler = self._former.popitem()
            # None stands for a handler that was not set from Python.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        del frame
        if self and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.signal = signal.Signals(number).name
