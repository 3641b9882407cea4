"""What a person is shown of an exception: its type, its text, and the lines of their own code that led to it."""

from __future__ import annotations

import linecache
import os
import sys
import traceback
from contextlib import suppress
from typing import TYPE_CHECKING

from aiotq.errors import Frame
from aiotq.job import ErrorInfo

if TYPE_CHECKING:
    from types import FrameType, TracebackType

MAX_FRAMES = 50  # the innermost ones
MAX_MESSAGE = 8 << 10  # characters
MAX_CODE = 200  # characters of a source line
MAX_GROUP = 10  # sub-exceptions named in a group's message

# What runs a task, and says nothing of why it failed.
_PLUMBING = frozenset({"asyncio", "anyio", "threading", "concurrent", "contextvars"})


def describe(exc: BaseException, *, package: str = "aiotq") -> ErrorInfo:
    """An exception as it is stored and shown. Never raises.

    Frames are the user's code and what it called, outermost first, at most 50; those of `package` and of what runs
    it (asyncio, anyio, threads) above the first of them are left out. No locals.
    """
    return ErrorInfo(type=type_name(type(exc)), message=message(exc), frames=_frames(exc.__traceback__, package))


def type_name(cls: type) -> str:
    """ "ValueError" for a builtin, else "module:Qualname"."""
    module, name = str(getattr(cls, "__module__", "?")), str(getattr(cls, "__qualname__", cls.__name__))
    return clean(name if module == "builtins" else f"{module}:{name}")


def message(exc: BaseException) -> str:
    """Its text, for a group with what it holds, and with its cause; at most 8 Ki characters, always encodable."""
    text = _text(exc)
    if isinstance(exc, BaseExceptionGroup):
        held: list[str] = []
        _name_parts(exc, held)
        more = len(held) - MAX_GROUP
        text += f" [{', '.join(held[:MAX_GROUP])}{f' and {more} more' if more > 0 else ''}]"
    if exc.__cause__ is not None:
        said = _text(exc.__cause__)
        text += f" (caused by {type_name(type(exc.__cause__))}{f': {said}' if said else ''})"
    return clean(text if len(text) <= MAX_MESSAGE else text[: MAX_MESSAGE - 1] + "…")


def clean(text: str) -> str:
    """`text` with every lone surrogate shown as an escape, so that it can be encoded."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def full_traceback(exc: BaseException) -> str:
    """Every frame, cause and context, as Python prints it. Never raises."""
    try:
        return clean("".join(traceback.format_exception(exc)))
    except BaseException:  # noqa: BLE001  an exception's own __str__ may raise anything
        return f"{type_name(type(exc))}: (its traceback can't be shown)\n"


def _text(exc: BaseException) -> str:
    # A group's own str() counts its parts; the parts are named instead. A KeyError's is its key's repr: that is enough.
    for show in (lambda: exc.message if isinstance(exc, BaseExceptionGroup) else str(exc), lambda: repr(exc)):
        with suppress(BaseException):
            return show()[: 2 * MAX_MESSAGE]
    return "(its text can't be shown: __str__ and __repr__ raise)"


def _name_parts(group: BaseExceptionGroup[BaseException], held: list[str]) -> None:
    waiting: list[BaseException] = list(group.exceptions)
    while waiting:  # not recursive: groups may be nested deeply
        part = waiting.pop(0)
        if isinstance(part, BaseExceptionGroup):
            waiting[:0] = part.exceptions
        else:
            said = _text(part)
            held.append(f"{type_name(type(part))}{f': {said[:200]}' if said else ''}")


def _frames(trace: TracebackType | None, package: str) -> tuple[Frame, ...]:
    found: list[tuple[FrameType, int]] = []
    while trace is not None:
        if found or not _is_plumbing(trace.tb_frame, package):
            found.append((trace.tb_frame, trace.tb_lineno))
            if len(found) > 2 * MAX_FRAMES:
                del found[1:MAX_FRAMES]
        trace = trace.tb_next
    return tuple(_frame(frame, line) for frame, line in found[-MAX_FRAMES:] if not _is_ours(frame, package))


def _root(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", "")).partition(".")[0]


def _is_ours(frame: FrameType, package: str) -> bool:
    return _root(frame) == package


def _is_plumbing(frame: FrameType, package: str) -> bool:
    root = _root(frame)
    return root == package or root in _PLUMBING


def _frame(frame: FrameType, line: int) -> Frame:
    code = frame.f_code
    source = ""
    with suppress(Exception):
        source = linecache.getline(code.co_filename, line, frame.f_globals).strip()[:MAX_CODE]
    name = code.co_qualname if sys.version_info >= (3, 11) else code.co_name
    return Frame(clean(_short(code.co_filename)), line, clean(name.rpartition("<locals>.")[2]), clean(source))


def _short(file: str) -> str:
    """The path, relative to the current folder if it is below it."""
    with suppress(OSError, ValueError):
        relative = os.path.relpath(file)
        if not relative.startswith(os.pardir) and os.path.isabs(file):
            return relative
    return file
