"""What the formats hold: records as each step of a job's life writes them, and tickets; `format-1.json` has the bytes.

`format-2.json` has those of jobs with headers. `python -m tests.golden.cases` prints both anew. A release that writes
other bytes writes another format: it has another version number, a file of its own, and still reads this one.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Raw

from aiotq import record, splice
from aiotq.document import Document
from aiotq.errors import Frame
from aiotq.job import Cancelled, ErrorInfo, Failed, JobStatus, Retried, Succeeded, line, parse_ticket, ticket
from aiotq.shown import info

FILE = Path(__file__).parent / "format-1.json"
FILE_2 = Path(__file__).parent / "format-2.json"
NOW_MS = 1_795_439_224_123
WORKER = "host-3f2a"
ERROR = ErrorInfo(type="ValueError", message="no Bobs: é", frames=(Frame("hello.py", 9, "greet", "raise ValueError"),))

PLAIN = Document(task="shop.tasks:send", args=Raw(b'["s-17",40]'))
FULL = Document(
    task="shop.tasks:send",
    args=Raw(b'["s-17",{"price":40.5}]'),
    kwargs=Raw(b'{"buyer":"b-3"}'),
    queue="email",
    priority=0,
    retries=5,
    timeout_ms=30_000,
    result_ttl_ms=60_000,
    delay_ms=1_500,
    expires_ms=86_400_000,
)
HEADERS = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "tenant": "Zoë"}
WITH_HEADERS = msgspec.structs.replace(PLAIN, headers=HEADERS)
AT = Document(task="t", due_ms=NOW_MS + 5_000)
LONG = "x" * 17_000
LARGE = Document(task="t", args=Raw(f'["{LONG}"]'.encode()))


def _first(document: Document) -> bytes:
    """As the script that enqueues writes it."""
    head, body, _ = record.new(document, generation="abcd")
    return head + b"%013d" % NOW_MS + body


def _after(data: bytes, outcome: Any, **given: Any) -> bytes:
    facts = {"generation": "WXYZ", "worker": WORKER, "started_ms": NOW_MS + 10, "finished_ms": NOW_MS + 30}
    return record.after(record.decode("j1", data), outcome, **facts | given)


def _spliced(data: bytes) -> bytes:
    before = splice.claimed("j1", "abcd", data)
    made = splice.succeeded(before, data, b'"sent"', worker=WORKER, started_ms=NOW_MS, finished_ms=NOW_MS + 9)
    assert made is not None
    return made


def records() -> dict[str, bytes]:
    """The record after each step, by the step's name."""
    plain, full = _first(PLAIN), _first(FULL)
    retried = _after(plain, Retried(error=ERROR, delay_ms=2_000), due_ms=NOW_MS + 2_030)
    unknown = record.postponed(record.decode("j1", plain), generation="WXYZ", now_ms=NOW_MS, due_ms=NOW_MS + 1_000)
    return {
        "new": plain,
        "new, with all options": full,
        "new, due at an instant": _first(AT),
        "new, and large": _first(LARGE),
        "succeeded": _after(full, Succeeded(result=b'{"sent":true}')),
        "succeeded at the first attempt, spliced": _spliced(plain),
        "succeeded, its result not stored": _after(plain, Succeeded(result=None)),
        "retried": retried,
        "retried, then succeeded": _after(retried, Succeeded(result=b"1")),
        "failed": _after(full, Failed(error=ERROR, reason="failed")),
        "failed, its worker lost too often": _after(plain, Failed(error=ERROR, reason="lost"), started_ms=None, lost=4),
        "cancelled while it ran": _after(plain, Cancelled(reason="cancelled")),
        "cancelled while it waited": record.cancelled(
            record.decode("j1", full), reason="cancelled", generation="WXYZ", finished_ms=NOW_MS
        ),
        "expired": _after(full, Cancelled(reason="expired"), started_ms=None),
        "returned": record.regenerated(plain, "WXYZ"),
        "put back, its task unknown": unknown,
        "undecodable": record.undecodable("j1", b"\xff\x00garbage", generation="WXYZ", now_ms=NOW_MS, worker=WORKER),
    }


def records_2() -> dict[str, bytes]:
    """The same of jobs with headers."""
    plain = _first(WITH_HEADERS)
    retried = _after(plain, Retried(error=ERROR, delay_ms=2_000), due_ms=NOW_MS + 2_030)
    return {
        "new, with headers": plain,
        "new, with headers and all options": _first(msgspec.structs.replace(FULL, headers=HEADERS)),
        "with headers, succeeded at the first attempt, spliced": _spliced(plain),
        "with headers, retried": retried,
        "with headers, retried, then failed": _after(retried, Failed(error=ERROR, reason="failed")),
        "with headers, cancelled while it ran": _after(plain, Cancelled(reason="cancelled")),
    }


def tickets() -> dict[str, str]:
    """A ticket of each kind of place."""
    return {
        "priority 5": ticket(line("default", 5), "abcd", "j1"),
        "to the front of priority 0": ticket(line("email", 0, lifo=True), "a-_9", "order:17:mail"),
        "a suspect": ticket("email:s", "!bcd", "j1"),
    }


def shown(data: bytes) -> Any:
    """All that is read of a record, as plain JSON."""
    read = json.loads(msgspec.json.encode(info(record.decode("j1", data), JobStatus.QUEUED)))
    return read if read["headers"] else {name: value for name, value in read.items() if name != "headers"}


def taken_apart(text: str) -> list[str]:
    """What is read of a ticket."""
    read = parse_ticket(text)
    return [read.queue, read.place, read.generation, read.job_id]


def golden_2() -> Any:
    """The same for jobs with headers."""
    return {"records": {name: {"bytes": data.decode(), "read": shown(data)} for name, data in records_2().items()}}


def golden() -> Any:
    """The file's content, by what this version writes and reads; a long argument is cut short in both."""
    content = {
        "records": {name: {"bytes": data.decode(), "read": shown(data)} for name, data in records().items()},
        "tickets": {name: {"bytes": text, "read": taken_apart(text)} for name, text in tickets().items()},
    }
    return json.loads(json.dumps(content).replace(LONG, "(17,000 x)"))


if __name__ == "__main__":
    for made in (golden(), golden_2()):
        print(json.dumps(made, indent=1, ensure_ascii=False))  # noqa: T201  that is what it is for
