"""What of a job's arguments may be shown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from aiotq.inspection.printing import MOST_TEXT, pretty_json
from aiotq.veil import MASK

if TYPE_CHECKING:
    from aiotq.inspection.desk import Desk, Redaction
    from aiotq.record import Record
    from aiotq.veil import Veil

# Values of one job that a hook is asked about: to decode and to encode more takes longer than 20 ms, in a loop that all
# who look at a dashboard share. Counted are commas and brackets, also those in texts.
MOST_VALUES = 50_000
LEAST_LINE = len("    1,\n")  # that an argument takes
_BROKEN = (msgspec.MsgspecError, ValueError, RecursionError)


def _nothing(why: str) -> Mapping[str, Any]:
    """What is shown in place of arguments."""
    return {"args": [f"{MASK} ({why})"], "kwargs": {}}


UNDECODED = _nothing("they don't decode")
TOO_MANY = _nothing(f"more than {MOST_VALUES:,} values: the redaction hook is not asked")


@dataclass(frozen=True, slots=True, kw_only=True)
class Arguments:
    """What may be shown of them."""

    values: Mapping[str, Any]  # {"args": [...], "kwargs": {...}}
    text: str  # the same pretty-printed, cut
    cut: bool


def arguments(desk: Desk, found: Record, *, values: bool, text: bool) -> Arguments:
    """Arguments without what must not be read, in the forms that are wanted; the others are empty.

    What a task that this app knows has declared `sensitive` is masked; then the hook says what is left. If it fails,
    nothing is shown.
    """
    task = desk.core.registry.get(found.doc.task)
    veil = None if task is None else task.veil
    plain: Mapping[str, Any] = {}
    raw = b""
    if desk.hook is not None and (values or text):
        plain, raw = _by_hook(desk.hook, found, veil)
    elif desk.hook is None:
        plain = _plain(found, veil) if values else {}
        raw = _raw(found, veil) if text else b""
    shown, cut = pretty_json(raw) if text else ("", False)
    return Arguments(values=plain if values else {}, text=shown, cut=cut)


def _by_hook(hook: Redaction, found: Record, veil: Veil | None) -> tuple[Mapping[str, Any], bytes]:
    """As values, and as JSON."""
    raws = bytes(found.doc.args), bytes(found.doc.kwargs)
    if sum(raw.count(part) for raw in raws for part in (b",", b"[", b"{")) > MOST_VALUES:
        return TOO_MANY, msgspec.json.encode(TOO_MANY)
    plain = _plain(found, veil)
    if plain is UNDECODED:
        return plain, msgspec.json.encode(plain)
    try:
        shown = dict(hook(found.doc.task, plain))
        return shown, msgspec.json.encode(shown)
    except Exception as error:  # noqa: BLE001  it is a user's, and what it was to hide shall not be seen
        failed = _nothing(f"the redaction hook raised {type(error).__name__}")
        return failed, msgspec.json.encode(failed)


def _plain(found: Record, veil: Veil | None) -> Mapping[str, Any]:
    doc = found.doc
    try:
        if veil is not None:
            args, kwargs = veil.masked(doc.args, doc.kwargs)
        else:
            args, kwargs = msgspec.json.decode(doc.args), msgspec.json.decode(doc.kwargs)
    except _BROKEN:
        return UNDECODED
    return {"args": args, "kwargs": kwargs}


def _raw(found: Record, veil: Veil | None) -> bytes:
    """As JSON, or its beginning."""
    args, kwargs = bytes(found.doc.args), bytes(found.doc.kwargs)
    if veil is not None:
        try:
            args, kwargs = veil.masked_json(args, kwargs, at_most=MOST_TEXT // LEAST_LINE + 1)
        except _BROKEN:
            return msgspec.json.encode(UNDECODED)
    return b'{"args":%b,"kwargs":%b}' % (args, kwargs)
