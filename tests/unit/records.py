"""Records as the tests make them."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import msgspec
from msgspec import Raw

from aiotq import record
from aiotq.document import Document
from aiotq.errors import Frame
from aiotq.job import Cancelled, ErrorInfo, Failed, Retried, Succeeded
from aiotq.record import Record

NOW_MS = 1_795_439_224_123
NOW = datetime(2026, 11, 23, 13, 7, 4, 123_000, tzinfo=UTC)
ERROR = ErrorInfo(type="ValueError", message="no Bobs", frames=(Frame("hello.py", 9, "greet", "raise ValueError"),))
SHORT_ERROR = ErrorInfo(type="ValueError", message="no Bobs")
Outcome = Succeeded | Failed | Retried | Cancelled


def stored(document: Document, *, generation: str = "abcd", enqueued_ms: int = NOW_MS) -> bytes:
    """What the script that enqueues writes."""
    head, body, _ = record.new(document, generation=generation)
    return head + b"%013d" % enqueued_ms + body


def a_record(**given: Any) -> Record:
    return record.decode("j1", stored(Document(**{"task": "shop.tasks:send", "args": Raw(b'["s-17",40]')} | given)))


def after(before: Record, outcome: Outcome, **given: Any) -> Record:
    facts: dict[str, Any] = {
        "generation": "WXYZ",
        "worker": "host-3f2a",
        "started_ms": NOW_MS + 10,
        "finished_ms": NOW_MS + 30,
    }
    return record.decode("j1", record.after(before, outcome, **facts | given))


def plain(document: Document) -> dict[str, Any]:
    """Its JSON, without the arguments that there are none of."""
    return {key: value for key, value in json.loads(msgspec.json.encode(document)).items() if value not in ([], {})}
