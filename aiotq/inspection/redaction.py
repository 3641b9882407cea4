"""What of a job's arguments may be shown, and how: pretty-printed, cut."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from aiotq.veil import MASK

if TYPE_CHECKING:
    from collections.abc import Mapping

    from msgspec import Raw

    from aiotq.inspection.desk import Desk
    from aiotq.record import Record

MOST_TEXT = 64 << 10  # characters


def arguments(desk: Desk, found: Record) -> Mapping[str, Any]:
    """As plain values, {"args": [...], "kwargs": {...}}: without what must not be read.

    What a task that this app knows has declared `sensitive` is masked; then the hook says what is left. If it fails,
    nothing is shown.
    """
    doc, task = found.doc, desk.core.registry.get(found.doc.task)
    try:
        if task is not None and task.veil is not None:
            args, kwargs = task.veil.masked(doc.args, doc.kwargs)
        else:
            args, kwargs = msgspec.json.decode(doc.args), msgspec.json.decode(doc.kwargs)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return {"args": [f"{MASK} (they don't decode)"], "kwargs": {}}
    if desk.hook is None:
        return {"args": args, "kwargs": kwargs}
    try:
        shown = dict(desk.hook(doc.task, {"args": args, "kwargs": kwargs}))
        msgspec.json.encode(shown)
    except Exception as error:  # noqa: BLE001  it is a user's, and what it was to hide shall not be seen
        return {"args": [f"{MASK} (the redaction hook raised {type(error).__name__})"], "kwargs": {}}
    return shown


def pretty(value: Any) -> tuple[str, bool]:
    """JSON for people, and whether it was cut."""
    try:
        return pretty_json(msgspec.json.encode(value))
    except Exception:  # noqa: BLE001  whatever a value's class raises
        return MASK, False


def pretty_json(raw: bytes | Raw) -> tuple[str, bool]:
    """The same of JSON. What is none is shown with escapes."""
    try:
        text = msgspec.json.format(bytes(raw), indent=2).decode(errors="backslashreplace")
    except (msgspec.MsgspecError, ValueError, RecursionError):
        text = bytes(raw).decode(errors="backslashreplace")
    return text[:MOST_TEXT], len(text) > MOST_TEXT
