"""`aiotq enqueue --wait`: what is said of how the job ended."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from typing import Any

import pytest

from aiotq.cli.mistake import Mistake
from aiotq.cli.operate.enqueue import _awaited, _send
from aiotq.cli.operate.reach import Where
from aiotq.errors import JobCancelled, JobExpired, JobNotFound
from aiotq.source import Source

ID = "0" * 26 + "a1f9c2"


class Job:
    """A handle whose job ended so."""

    id, existed = ID, False

    def __init__(self, *, result: Any = None, info: Any = None):
        self._result, self._info = result, info

    async def result(self, timeout):
        if self._result is not None:
            raise self._result

    async def info(self):
        raise self._info


async def said_of(job, capsys):
    """The exit code, what stands on stdout, and the lines for a person."""
    core: Any = None  # which is asked of jobs that wait
    answer = await _awaited(Where(as_json=True), core, job, 10.0, datetime.now(UTC))
    with pytest.raises(Mistake) as ended:
        answer()
    return ended.value.exit_code, json.loads(capsys.readouterr().out), ended.value.lines


@pytest.mark.parametrize("job", [Job(result=JobNotFound(job_id=ID)), Job(info=JobNotFound(job_id=ID))])
async def test_a_job_that_is_gone_by_then_is_not_said_to_be_cancelled(job, capsys):
    code, said, lines = await said_of(job, capsys)
    assert (code, said["id"], said["status"]) == (1, ID, "gone")
    assert "a1f9c2" in lines[0]
    assert "gone" in lines[0]
    assert not any("aiotq job" in line for line in lines), "nothing more is known of it"


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (JobCancelled(job_id=ID), "cancelled"),
        (JobExpired(job_id=ID), "cancelled"),
    ],
)
async def test_one_that_was_cancelled_is(error, status, capsys):
    code, said, lines = await said_of(Job(result=error), capsys)
    assert (code, said["status"]) == (1, status)
    assert lines[-1] == "all about it: aiotq job a1f9c2"


class Call:
    """One whose app has a middleware that prints."""

    def __init__(self):
        self.core = self

    def source(self):
        return Source(url="redis://nowhere", origin="--url")

    async def enter(self, **_patience):
        sys.stdout.write("connecting\n")

    async def leave(self):
        sys.stdout.write("leaving\n")

    async def delay(self):
        sys.stdout.write("sending\n")
        return Job()


@pytest.mark.parametrize(("as_json", "answer"), [(True, f'{{"id": "{ID}", "existed": false}}\n'), (False, f"{ID}\n")])
def test_what_a_middleware_prints_stands_on_stderr_and_the_answer_alone_on_stdout(capsys, as_json, answer):
    call: Any = Call()
    assert _send(Where(as_json=as_json), call, {}, wait_s=None) == 0
    assert capsys.readouterr() == (answer, "connecting\nsending\nleaving\n")
