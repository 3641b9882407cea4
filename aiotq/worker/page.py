"""What one attempt has written and nobody has taken yet: bounded, whatever the attempt does, and harmless to read."""

from __future__ import annotations

import re
from collections import deque
from typing import TYPE_CHECKING, Generic, TypeVar

from aiotq.store.notes import MOST_BYTES, MOST_LINES

if TYPE_CHECKING:
    from collections.abc import Sequence

MOST_TEXT = 2 << 10  # bytes of a line's text
MOST_LEVEL = 16  # characters
MOST_NOTE = 500  # characters of progress

T = TypeVar("T")
P = TypeVar("P")

# What might do something to a terminal or to a page: control characters, half surrogates, marks that turn text around.
_HARMFUL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


class Page(Generic[T, P]):
    """Lines and progress of one attempt. The oldest lines go if there are too many; their numbers are missing then."""

    __slots__ = ("lines", "number", "progress", "size")

    def __init__(self) -> None:
        self.lines: deque[tuple[int, int, T]] = deque()  # number, from 1; size; what it says
        self.size, self.number = 0, 0
        self.progress: P | None = None  # the last one

    def __bool__(self) -> bool:
        return bool(self.lines) or self.progress is not None

    def add(self, line: T, size: int, *, number: int | None = None) -> None:
        """number: None for the next one; they grow."""
        self.number = self.number + 1 if number is None else max(number, self.number + 1)
        self.lines.append((self.number, size, line))
        self.size += size
        while len(self.lines) > MOST_LINES or (self.size > MOST_BYTES and len(self.lines) > 1):
            self.drop()

    def drop(self) -> int:
        """Let the oldest line go. Returns its size."""
        _, size, _ = self.lines.popleft()
        self.size -= size
        return size

    def taken(self, *, upto: int, progress: P | None) -> int:
        """Lines up to that number, and that progress, have been taken. Returns the size of these lines."""
        before = self.size
        while self.lines and self.lines[0][0] <= upto:
            self.drop()
        if self.progress is progress:
            self.progress = None
        return before - self.size

    def all(self) -> Sequence[tuple[int, T]]:
        """The lines, by number."""
        return [(number, line) for number, _, line in self.lines]


def harmless(text: object, most: int) -> str:
    """What shall be read later: at most so many bytes of UTF-8, with escapes for what is no text."""
    said = text if isinstance(text, str) else str(text)
    cut, said = len(said) > most, said[:most]
    if not said.isprintable():
        said = _HARMFUL.sub(_escaped, said.replace("\r\n", "\n"))
    data = said.encode(errors="backslashreplace")
    if not cut and len(data) <= most:
        return said
    return data[: most - len("…".encode())].decode(errors="ignore") + "…"


def level(name: object) -> str:
    """A level's name."""
    word = " ".join(str(name).lower().split())
    return harmless(word[:MOST_LEVEL], 4 * MOST_LEVEL) or "info"


def note(text: object) -> str | None:
    """A word beside progress."""
    return None if text is None else harmless(str(text)[:MOST_NOTE], 4 * MOST_NOTE)


def _escaped(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape", "backslashreplace").decode()
