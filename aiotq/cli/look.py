"""What a stream can show, and writing to it: coloured lines on a terminal, plain ones elsewhere.

A line is a tuple of spans, a span is a text with its style, so that all rendering is pure and what a job says is never
taken for markup.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from rich.console import Console

Span = tuple[str, str]  # text, and a style as rich names them: "", "dim", "bold red"
Line = tuple[Span, ...]

FALLBACK_WIDTH = 80  # of a terminal that does not say its own


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """How lines may look on a stream."""

    terminal: bool = False
    colour: bool = False
    symbols: bool = False  # whether ▶ and its kin can be shown; words stand for them elsewhere
    verbose: bool = False  # whole ids, messages and tracebacks


def look_of(stream: TextIO, environ: Mapping[str, str], *, verbose: bool = False) -> Look:
    """What `stream` can show. Colour and symbols are for terminals; NO_COLOR and the locale are heeded."""
    terminal = stream.isatty()
    dumb = environ.get("TERM") == "dumb"
    # Python speaks UTF-8 under LANG=C too (PEP 538, 540); the terminal of a person who sets it may not.
    locale = environ.get("LC_ALL") or environ.get("LANG") or ""
    encoding = (stream.encoding or "").lower().replace("-", "")
    return Look(
        terminal=terminal,
        colour=terminal and not dumb and not environ.get("NO_COLOR"),
        symbols=terminal and not dumb and encoding == "utf8" and locale not in {"C", "POSIX"},
        verbose=verbose,
    )


def plain(line: Line) -> str:
    """A line without its styles."""
    return "".join(text for text, _ in line).rstrip()


class Paper:
    """A stream that lines are written to, each batch in one piece."""

    def __init__(self, stream: TextIO, look: Look) -> None:
        self._stream, self.look = stream, look
        self._console: Console | None = None

    @property
    def width(self) -> int | None:
        """Columns of the terminal at this moment; None for a file or a pipe, where nothing has to fit."""
        if not self.look.terminal:
            return None
        try:
            return os.get_terminal_size(self._stream.fileno()).columns or FALLBACK_WIDTH
        except (OSError, ValueError):
            return FALLBACK_WIDTH

    def write(self, lines: Iterable[Line]) -> None:
        """Write lines and flush them."""
        lines = list(lines)
        if not lines:
            return
        if self.look.colour:
            self._write_coloured(lines)
        else:
            self._stream.write("".join(plain(line) + "\n" for line in lines))
        self._stream.flush()

    def _write_coloured(self, lines: list[Line]) -> None:
        # rich costs 60 ms to import: only a terminal pays for it.
        from rich.console import Console  # noqa: PLC0415
        from rich.text import Text  # noqa: PLC0415

        if self._console is None:
            self._console = Console(file=self._stream, force_terminal=True, highlight=False, markup=False, emoji=False)
        text = Text("\n").join(Text.assemble(*line) for line in lines)
        self._console.print(text, soft_wrap=True)
