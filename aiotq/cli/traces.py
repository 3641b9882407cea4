"""The traceback of an import that failed, of the user's own code only."""

from __future__ import annotations

import traceback
from pathlib import Path

from aiotq.frames import clean

_OURS = str(Path(__file__).resolve().parent.parent) + "/"


def user_traceback(error: BaseException) -> str:
    """As Python prints it, without the frames of aiotq and of the import machinery, and without locals.

    Whole, if none of the user's is in it: then the fault is ours.
    """
    told = traceback.TracebackException.from_exception(error)
    if innermost(error) is None and not isinstance(error, SyntaxError):
        return clean("".join(told.format()))
    _strip(told)
    return clean("".join(told.format()))


def innermost(error: BaseException) -> str | None:
    """The place in the user's code where it was raised: "hello.py:3". None if there is none, as for a syntax error."""
    theirs = [frame for frame in traceback.extract_tb(error.__traceback__) if _is_theirs(frame.filename)]
    return f"{_short(theirs[-1].filename)}:{theirs[-1].lineno}" if theirs else None


def _strip(told: traceback.TracebackException) -> None:
    waiting = [told]
    while waiting:
        one = waiting.pop()
        one.stack = traceback.StackSummary.from_list([frame for frame in one.stack if _is_theirs(frame.filename)])
        waiting += [link for link in (one.__cause__, one.__context__) if link is not None]
        waiting += one.exceptions or []


def _is_theirs(file: str) -> bool:
    importing = file.startswith("<frozen importlib") or file.endswith("/importlib/__init__.py")
    return not importing and not file.startswith(_OURS)


def _short(file: str) -> str:
    path = Path(file)
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else file
