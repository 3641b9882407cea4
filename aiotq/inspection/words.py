"""Numbers in the words of a finding."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def jobs(many: int) -> str:
    """As "1 job" or "3 jobs", with its number."""
    return f"{many:,} job{'s' * (many != 1)}"


def and_more(named: Sequence[str], many: int) -> str:
    """As "mail, sms and 2 more". many: of these there are in all."""
    if many > len(named):
        return f"{', '.join(named)} and {many - len(named):,} more"
    return " and ".join(filter(None, (", ".join(named[:-1]), *named[-1:])))


def time(seconds: float) -> str:
    """Two units at most: "41 s", "3 m 12 s", "5 h 2 m", "9 d 4 h"."""
    whole = round(seconds)
    for unit, below, name, small in ((86_400, 3_600, "d", "h"), (3_600, 60, "h", "m"), (60, 1, "m", "s")):
        if whole >= unit:
            rest = whole % unit // below
            return f"{whole // unit} {name}" + (f" {rest} {small}" if rest else "")
    return f"{whole} s"


def size(number: int) -> str:
    """Of memory: "102.4 MiB"."""
    for unit, name in ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")):
        if number >= unit:
            return f"{number / unit:.4g} {name}"
    return f"{number} bytes"


def roomy(limit: int | None, used: int | None) -> str:
    """Twice of what a server may take, or of what it has taken if that is more, as CONFIG SET takes it."""
    return f"{max(1, -(-2 * max(limit or 0, used or 0) >> 20))}mb"
