"""What is kept, stored and said of a failure, where the task wants less than all: `store_traceback`, `sensitive`."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from msgspec import structs

if TYPE_CHECKING:
    from aiotq.job import Failed, Retried
    from aiotq.worker.held import Held


def kept(held: Held, outcome: Failed | Retried) -> Failed | Retried:
    """The outcome of a failed attempt, without what the task wants nobody to read. Also changes `held.traceback`."""
    task, record = held.task, held.record
    if task is None or record is None or (task.veil is None and task.store_traceback):
        return outcome
    error = outcome.error
    if not task.store_traceback:
        error = replace(error, frames=())
    if task.veil is not None:
        doc = record.doc
        error = replace(error, message=task.veil.text(error.message, doc.args, doc.kwargs))
        if held.traceback is not None:
            held.traceback = task.veil.text(held.traceback, doc.args, doc.kwargs)
    return structs.replace(outcome, error=error)


def arguments(held: Held) -> str:
    """A job's arguments, for a line that shows them."""
    assert held.record is not None
    doc, veil = held.record.doc, None if held.task is None else held.task.veil
    if veil is not None:
        return veil.arguments(doc.args, doc.kwargs)
    return " ".join(bytes(part).decode(errors="backslashreplace") for part in (doc.args, doc.kwargs))


def result(held: Held, stored: bytes | None) -> str:
    """A job's result, for a line that shows it."""
    text = (stored or b"").decode(errors="backslashreplace")
    if held.task is None or held.task.veil is None or held.record is None:
        return text
    return held.task.veil.text(text, held.record.doc.args, held.record.doc.kwargs)
