"""Stdout as commands write to it: what it does not take ends a command with one line, and no traceback."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, TextIO

from aiotq.cli.mistake import EXIT_FAILURE, EXIT_OK, Mistake

if TYPE_CHECKING:
    from collections.abc import Generator


class Unwritten(Mistake):
    """Stdout takes no more. Where whoever reads it has had enough, as `head` has, that is no failure and not told."""

    def __init__(self, error: OSError) -> None:
        if isinstance(error, BrokenPipeError):
            super().__init__(exit_code=EXIT_OK)
        else:
            super().__init__(f"could not write to stdout: {error.strerror or error}", exit_code=EXIT_FAILURE)


class _Stdout:
    """The stream itself, but that it raises Unwritten."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except OSError as error:
            raise Unwritten(error) from error

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError as error:
            raise Unwritten(error) from error

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def watched() -> Generator[None]:
    """Within it, whatever writes to stdout raises Unwritten if that fails; at its end all has been written."""
    stream: Any = sys.stdout
    sys.stdout = watching = _Stdout(stream)
    try:
        yield
        watching.flush()
    except Unwritten:
        with suppress(OSError):  # else Python tries it again as it ends, and complains
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        raise
    finally:
        sys.stdout = stream
