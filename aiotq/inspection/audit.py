"""The audit: what a person did, as JSON of at most 1 KiB, and read again. Pure."""

from __future__ import annotations

import msgspec

from aiotq.document import Count
from aiotq.inspection.values import AuditEntry
from aiotq.shown import instant

MOST = 1_000  # bytes of an entry, without its time
MAX_BY = 100  # characters
BEGUN = "begun"  # what an act on many has come to until it ends
_CUT = "..."


class _Entry(msgspec.Struct):
    """As it is kept. Times are Unix ms by Redis's clock, put there by the script."""

    at: Count
    by: str = ""
    action: str = ""
    subject: str = ""
    came_to: str = ""


_decoder = msgspec.json.Decoder(_Entry)


def entry(*, by: str, action: str, subject: str, came_to: str, stamp: str) -> bytes:
    """An entry without its beginning, which is the time. What is too long is cut.

    stamp: of the act, hex digits; of those with one stamp the store keeps the first. It comes last: scripts look there.
    """
    most = 400
    while True:
        found = msgspec.json.encode(
            {
                "by": plain(by, most=min(most, MAX_BY)),
                "action": plain(action, most=20),
                "subject": plain(subject, most=most),
                "came_to": plain(came_to, most=most),
                "stamp": stamp,
            }
        )
        if len(found) <= MOST:
            return found[1:]
        most //= 2


def whole(entry: bytes, now_ms: int) -> bytes:
    """An entry as it stands in the store, with its time in front."""
    return b'{"at":%d,' % now_ms + entry


def plain(text: str, *, most: int) -> str:
    """Text of which all can be seen: the rest is escaped, and what is longer is cut."""
    text = text[: most + 1]
    if not text.isprintable():
        text = "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)
    return text if len(text) <= most else text[: most - len(_CUT)] + _CUT


def parse(data: bytes) -> AuditEntry | None:
    """An entry as it was kept; None of what is none."""
    try:
        found = _decoder.decode(data)
        at = instant(found.at)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
    return AuditEntry(at=at, by=found.by, action=found.action, subject=found.subject, came_to=found.came_to)
