"""Stdout as commands write to it: what it does not take ends a command with one line, and no traceback. And what
stands for streams that were closed before the process began (`aiotq jobs >&-`).
"""

from __future__ import annotations

import io
import os
import sys
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
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
            why = "it is closed" if isinstance(error, io.UnsupportedOperation) else error.strerror or error
            super().__init__(f"could not write to stdout: {why}", exit_code=EXIT_FAILURE)


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
def all_open(*, answers: bool) -> Generator[None]:
    """Within it, each stream that Python found closed is one that is at its end, or keeps nothing.

    answers: what is written to stdout is what the command is for, so that a closed one takes none of it.
    """
    with ExitStack() as opened:
        for name, mode in (("stdin", "r"), ("stdout", "r" if answers else "w"), ("stderr", "w")):
            if getattr(sys, name) is None:
                setattr(sys, name, opened.enter_context(Path(os.devnull).open(mode, encoding="utf-8")))
                opened.callback(setattr, sys, name, None)
        yield


@contextmanager
def watched() -> Generator[None]:
    """Within it, whatever writes to stdout raises Unwritten if that fails; at its end all has been written."""
    stream: Any = sys.stdout
    sys.stdout = watching = _Stdout(stream)
    try:
        yield
        watching.flush()
    except Unwritten:
        # Else Python tries it again as it ends, and complains.
        with suppress(OSError), Path(os.devnull).open("wb") as nothing:
            os.dup2(nothing.fileno(), stream.fileno())
        raise
    finally:
        sys.stdout = stream
