"""Command lines that act, and an inspector that notes down what it is asked to do."""

from __future__ import annotations

import io
import sys
from datetime import UTC, datetime

import pytest

from aiotq.cli import main as command_line
from aiotq.cli.operate import reach
from aiotq.errors import JobNotFound
from aiotq.inspection.arrivals import Moment
from aiotq.inspection.hand import DONE
from aiotq.inspection.values import Bulk, Page, Purged, TaskInfo
from aiotq.job import JobStatus
from tests.unit.overviews import a_detail, a_queue, a_summary, a_worker

GONE = "0" * 26 + "c1f9c2"
NOW = datetime(2026, 11, 27, 15, 4, 5, 678_000, tzinfo=UTC)
A, B = "0" * 26 + "a1f9c2", "0" * 26 + "b1f9c2"


CLOSED = object()  # for what is typed where stdin is closed


class Terminal(io.StringIO):
    def isatty(self):
        return True


class Inspector:
    """What an inspector does, noted down."""

    def __init__(self):
        self.did, self.answer, self.known = [], True, {"a1f9c2": (A,), "1f9c2": (A, B)}
        self.numbers = {JobStatus.SCHEDULED: 3, JobStatus.QUEUED: 20, JobStatus.RUNNING: 2, JobStatus.FAILED: 41}
        self.came, self.bulk, self.serving = DONE, Bulk(done=40, skipped=1, looked=41), (a_worker(label="anna"),)
        self.purged = Purged(ended=3, cleared=0)
        self.checks = ()

    def acting(self, by):
        return self

    async def find(self, text):
        return self.known.get(text, ())

    async def count(self, which):
        self.did.append(("count", which))
        return self.numbers.get(which.status, 999)

    async def jobs(self, which, **_more):
        return Page(items=(), cursor=None, looked=0)

    async def workers(self):
        return self.serving

    async def job(self, job_id):
        if job_id == GONE:
            raise JobNotFound(job_id=GONE)
        return a_detail(summary=a_summary(id=job_id, status=JobStatus.RUNNING, worker="anna"))

    async def tasks(self, *, hours):
        return (
            TaskInfo(name="shop:send_mail", succeeded=1, failed=0, retried=0, cancelled=0, mean_s=None, known=None),
        )

    async def checkup(self):
        return self.checks

    async def queues(self):
        return (a_queue(name="mail", waiting=3), a_queue(name="empty"))

    def __getattr__(self, name):
        async def act(*words, **more):
            self.did.append((name, *words, *more.values()))
            return self.purged if name == "purge" else self.answer

        return act

    async def act(self, act, job_id, *, queue=None):
        if job_id == GONE:
            raise JobNotFound(job_id=GONE)
        self.did.append((act.value, job_id, queue))
        return self.came

    async def moment(self, queue=None):
        return Moment(at=NOW, queue=queue)

    async def act_on_all(self, act, which, *, queue=None, as_of=None):
        assert as_of == Moment(at=NOW, queue=which.queue), "what comes after it was counted was not confirmed"
        self.did.append((f"{act.value}_all", which, queue))
        return self.bulk


@pytest.fixture
def inspector(monkeypatch):
    made = Inspector()

    async def within(_app, work):
        return await work(made)

    monkeypatch.setattr(reach, "_within", within)
    return made


def _keyboard(typed):
    if typed is CLOSED:
        return None
    return typed if isinstance(typed, Terminal) else io.StringIO() if typed is None else Terminal(typed)


@pytest.fixture
def run(inspector, monkeypatch, capsys):
    """Runs a command line; the exit code, stdout and stderr."""

    def run(*words, typed=None):
        at = words.index("--") if "--" in words else len(words)
        monkeypatch.setattr(sys, "argv", ["aiotq", *words[:at], "--url", "redis://nowhere", *words[at:]])
        monkeypatch.setattr(sys, "stdin", _keyboard(typed))
        code = command_line.main()
        return code, *capsys.readouterr()

    return run


def acts(inspector):
    return [did for did in inspector.did if did[0] != "count"]
