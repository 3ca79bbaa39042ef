"""The status of a call that came to its end without all of its parts."""

import sys

PARTLY = 3  # exit status: done, but for parts that failed


def told_failures(what: str, count: int) -> int:
    """The exit status, and a sentence where some parts failed."""
    if not count:
        return 0
    many = f"1 {what}" if count == 1 else f"{count} {what}s"
    print(
        f"failed: {many}, with the reasons above; the same command tries again what "
        "its configuration does not rule out",
        file=sys.stderr,
    )
    return PARTLY
