"""Cursors: where in a list a page ended, as text that nobody has to understand.

It comes back from outside, so whatever it holds is looked at. What it names may have moved or gone meanwhile: then a
page begins where that would be.
"""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import TypeAlias

import msgspec

from aiotq.checks import shown
from aiotq.errors import UsageError

# The name of a section of the list, then numbers and words that this section knows.
At: TypeAlias = tuple[str | int, ...]

LONGEST = 2_000  # characters
MOST = (1 << 53) - 1
_decoder = msgspec.json.Decoder(list[str | int])


def encoded(section: str, at: At) -> str:
    """A cursor."""
    return urlsafe_b64encode(msgspec.json.encode([section, *at])).rstrip(b"=").decode()


def decoded(cursor: object) -> tuple[str, At]:
    """Its section and place. Raises UsageError for what is none."""
    if isinstance(cursor, str) and 0 < len(cursor) <= LONGEST and cursor.isascii():
        try:
            section, *at = _decoder.decode(urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        except (ValueError, msgspec.MsgspecError):
            raise refused(cursor) from None
        if isinstance(section, str) and all(isinstance(part, str) or 0 <= part <= MOST for part in at):
            return section, tuple(at)
    raise refused(cursor)


def refused(cursor: object) -> UsageError:
    """The error for a cursor that can't be right."""
    return UsageError(
        f"cursor={shown(cursor)} is none that a page of this list has given; "
        "pass a page's `.cursor`, or None for the first page"
    )
