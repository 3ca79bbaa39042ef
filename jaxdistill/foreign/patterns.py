"""Regular expressions of others, which may search for longer than anyone waits."""

import re
import signal
import threading
from typing import NoReturn

PATIENCE = 3.0  # seconds for one name


def search(pattern: re.Pattern, text: str) -> re.Match | None:
    """`pattern.search(text)`; `TimeoutError` after `PATIENCE`.

    Such as `(a+)+$` take twice as long for each letter. Python's matching looks for
    signals as it goes, so that a timer can end it; without one, as beside the main
    thread or on Windows, it has all the time that it wants.
    """
    main = threading.current_thread() is threading.main_thread()
    if not main or not hasattr(signal, "setitimer"):
        return pattern.search(text)
    former = signal.signal(signal.SIGALRM, _give_up)
    left, again = signal.setitimer(signal.ITIMER_REAL, PATIENCE)
    try:
        return pattern.search(text)
    finally:
        signal.setitimer(signal.ITIMER_REAL, left, again)
        signal.signal(signal.SIGALRM, former)


def _give_up(number: int, frame: object) -> NoReturn:
    raise TimeoutError
