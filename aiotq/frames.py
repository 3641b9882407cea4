"""What a person is shown of an exception: its type, its text, and the lines of their own code that led to it."""

from __future__ import annotations

import linecache
import traceback
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from aiotq.errors import Frame
from aiotq.job import ErrorInfo

if TYPE_CHECKING:
    from types import FrameType, TracebackType

MAX_FRAMES = 50  # the innermost ones
MAX_MESSAGE = 8 << 10  # characters
MAX_CODE = 200  # characters of a source line
MAX_NAME = 200  # characters of a type's or a function's name
MAX_FILE = 400  # characters of a path
MAX_FRAMES_BYTES = 32 << 10  # of all of them: with the message no error takes more than 64 KiB
MAX_TRACEBACK = 64 << 10  # characters of a traceback in a log at DEBUG; the last ones
MAX_PARTS = 10  # exceptions of a group that its message names
MAX_PART = 200  # characters of such a name

# What runs a task, and says nothing of why it failed.
PLUMBING = frozenset({"anyio", "asyncio", "concurrent", "contextvars", "threading", "uvloop"})


def describe(exc: BaseException, *, package: str = "aiotq") -> ErrorInfo:
    """An exception as it is stored and shown. Never raises.

    Frames: the user's code and the libraries it called, outermost first, at most the 50 innermost; none of `package`
    and of what runs it. A group's own are followed by those of the first exception in it. No locals.
    """
    frames = _frames(exc.__traceback__, package)
    leaves = _leaves(exc)
    if leaves[0] is not exc:
        frames += _frames(leaves[0].__traceback__, package)
    return ErrorInfo(type=type_name(type(exc)), message=_message(exc, leaves), frames=_innermost(frames))


def _innermost(frames: tuple[Frame, ...]) -> tuple[Frame, ...]:
    """As many of the last ones as may be kept."""
    kept: deque[Frame] = deque()
    size = 0
    for frame in reversed(frames[-MAX_FRAMES:]):
        size += len(f"{frame.file}{frame.function}{frame.code}".encode())
        if size > MAX_FRAMES_BYTES:
            break
        kept.appendleft(frame)
    return tuple(kept)


def type_name(cls: type) -> str:
    """The name of a builtin or of one of aiotq's own ("ValueError", "JobTimeout"), else "module:Qualname"."""
    plain = cls.__module__.partition(".")[0] in {"builtins", "aiotq"}
    return clean(cls.__qualname__ if plain else f"{cls.__module__}:{cls.__qualname__}")[:MAX_NAME]


def ours(exc: BaseException, *, package: str = "aiotq") -> bool:
    """Whether aiotq raised it by itself, for a job's own arguments or result, and not in a call of the user's code."""
    trace = exc.__traceback__
    while trace is not None:
        if str(trace.tb_frame.f_globals.get("__name__", "")).partition(".")[0] != package:
            return False
        trace = trace.tb_next
    return True


def clean(text: str) -> str:
    """`text` with every lone surrogate shown as an escape, so that it can be encoded."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def full_traceback(exc: BaseException) -> str:
    """Every frame, cause and context, as Python prints it. Never raises."""
    try:
        return clean("".join(traceback.format_exception(exc)))[-MAX_TRACEBACK:]
    except BaseException:  # noqa: BLE001  an exception's own attributes may raise anything
        return f"{type_name(type(exc))}: (its traceback can't be shown)\n"


def _message(exc: BaseException, leaves: list[BaseException]) -> str:
    """Its text, with what a group holds and with its cause; at most 8 Ki characters, without lone surrogates."""
    text = _text(exc)
    if leaves[0] is not exc:
        more = len(leaves) - MAX_PARTS
        named = ", ".join(_named(leaf) for leaf in leaves[:MAX_PARTS])
        text = f"{text} [{named}{f' and {more} more' if more > 0 else ''}]"
    cause = exc.__cause__
    if cause is not None and (not _text(cause) or _text(cause) not in text):
        text = f"{text} (caused by {_named(cause)})".lstrip()
    return clean(text if len(text) <= MAX_MESSAGE else text[: MAX_MESSAGE - 1] + "…")


def _named(exc: BaseException) -> str:
    text = _text(exc)[:MAX_PART]
    return f"{type_name(type(exc))}{f': {text}' if text else ''}"


def _text(exc: BaseException) -> str:
    # str() of a group counts its parts as well; they are named instead.
    for show in (_own_message if isinstance(exc, BaseExceptionGroup) else str, repr):
        with suppress(BaseException):  # an exception's own __str__ and __repr__ may raise anything
            return show(cast("BaseException", exc))
    return "(its text can't be shown: __str__ and __repr__ raise)"


def _own_message(group: Any) -> str:
    return str(group.message)


def _leaves(exc: BaseException) -> list[BaseException]:
    """What a group holds, without the groups in between; of any other exception itself."""
    leaves: list[BaseException] = []
    waiting = [exc]
    while waiting:  # not recursive: groups may be nested deeply
        part = waiting.pop()
        if isinstance(part, BaseExceptionGroup):
            waiting.extend(reversed(cast("BaseExceptionGroup[BaseException]", part).exceptions))
        else:
            leaves.append(part)
    return leaves


def standing(frame: FrameType | None, *, package: str = "aiotq") -> tuple[Frame, ...]:
    """Where a running thread stands in the user's code, outermost first: from what runs it down to `frame`."""
    found: list[Frame] = []
    while frame is not None and len(found) < MAX_FRAMES:
        root = str(frame.f_globals.get("__name__", "")).partition(".")[0]
        if root == package or root in PLUMBING:
            if found:
                break
        else:
            found.append(_frame(frame, frame.f_lineno))
        frame = frame.f_back
    return tuple(reversed(found))


def _frames(trace: TracebackType | None, package: str) -> tuple[Frame, ...]:
    found: deque[tuple[FrameType, int]] = deque(maxlen=MAX_FRAMES)
    while trace is not None:
        root = str(trace.tb_frame.f_globals.get("__name__", "")).partition(".")[0]
        if root != package and root not in PLUMBING:
            found.append((trace.tb_frame, trace.tb_lineno))
        trace = trace.tb_next
    return tuple(_frame(frame, line) for frame, line in found)


def _frame(frame: FrameType, line: int) -> Frame:
    code = frame.f_code
    source = ""
    with suppress(Exception):  # a module's own loader may raise anything
        source = linecache.getline(code.co_filename, line, frame.f_globals).strip()[:MAX_CODE]
    function = code.co_qualname.rpartition("<locals>.")[2]
    return Frame(clean(_short(code.co_filename)[-MAX_FILE:]), line, clean(function[-MAX_NAME:]), clean(source))


def _short(file: str) -> str:
    """The path, relative to the current folder if it is below it."""
    with suppress(OSError, ValueError):  # the current folder may be gone; the file may lie elsewhere
        return str(Path(file).relative_to(Path.cwd()))
    return file
