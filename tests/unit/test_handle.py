"""What a handle does when the store's answers cross each other: told by a store that plays a script."""

from __future__ import annotations

import asyncio
from collections import deque
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from aiotq import App, Job, JobStatus, handle, record
from aiotq.document import LEAST_TTL_MS, Document
from aiotq.errors import JobCancelled, JobFailed, JobNotFound, NewerRecord, ResultTimeout, StoreUnavailable
from aiotq.ids import short
from aiotq.job import Cancelled, ErrorInfo, Failed, Succeeded
from aiotq.store.contract import Place, Replaced

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from aiotq.store.contract import Replacement

WAITING = b"1waaaa0000000001000" + msgspec.json.encode(Document(task="t", queue="mail"))
AWAY = StoreUnavailable("read: no answer", verb="read", url="redis://here", sent=False)


def after(outcome: Any, data: bytes = WAITING) -> bytes:
    return record.after(
        record.decode("j", data), outcome, generation="bbbb", worker="w", started_ms=1001, finished_ms=1002
    )


class Script:
    """A store whose answers are written down; the last of each kind is given again and again."""

    def __init__(
        self,
        *,
        reads: Sequence[bytes | Exception | None],
        places: Sequence[Place] = (Place(status=JobStatus.QUEUED),),
        replaced: Sequence[Replaced] = (Replaced.DONE,),
        cancelled: Sequence[bool] = (False,),
        workers: dict[str, list[str]] | None = None,
        news: Sequence[bytes | None] = (None,),
    ) -> None:
        self._answers: dict[str, deque[Any]] = {
            "read": deque(reads), "locate": deque(places), "replace": deque(replaced), "cancel": deque(cancelled),
        }  # fmt: skip
        self.calls: list[str] = []
        self.replacements: list[Replacement] = []
        self.workers = workers or {}
        self.news = news

    def _next(self, verb: str) -> Any:
        self.calls.append(verb)
        answers = self._answers[verb]
        answer = answers.popleft() if len(answers) > 1 else answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def read(self, job_id: str, *, at_most: int | None = None) -> bytes | None:
        return self._next("read")

    async def locate(self, job_id: str, *, generation: str, lines: Sequence[str]) -> Place:
        assert lines == ("mail:5", "mail:f", "mail:s")
        return self._next("locate")

    async def replace(self, replacement: Replacement) -> Replaced:
        self.replacements.append(replacement)
        return self._next("replace")

    async def cancel(self, job_id: str, *, generation: str, lines: Sequence[str]) -> bool:
        return self._next("cancel")

    async def live_workers(self) -> dict[str, list[str]]:
        return self.workers

    async def ended(self, job_id: str) -> AsyncIterator[bytes | None]:
        self.calls.append("ended")
        for told in self.news:
            yield told
        await asyncio.Event().wait()


def job(script: Script, job_id: str = "j") -> Job[Any]:
    found = App("redis://nowhere.invalid").job(job_id)
    found._core.client = lambda: SimpleNamespace(store=script)  # pyright: ignore[reportAttributeAccessIssue]
    return found


async def test_a_job_that_moved_on_between_two_looks_is_looked_at_again() -> None:
    script = Script(reads=[WAITING], places=[Place(status=None), Place(status=JobStatus.RUNNING, worker="w")])
    assert await job(script).status() is JobStatus.RUNNING
    assert script.calls == ["read", "locate"] * 2


async def test_a_job_that_ended_between_two_looks_has_ended() -> None:
    script = Script(reads=[WAITING, after(Succeeded(result=b"1"))], places=[Place(status=None)])
    assert await job(script).status() is JobStatus.SUCCEEDED


async def test_a_job_that_never_stands_still_is_called_queued() -> None:
    script = Script(reads=[WAITING], places=[Place(status=None)])
    assert await job(script).status() is JobStatus.QUEUED
    assert len(script.calls) == 2 * handle.TRIES


async def test_an_empty_record_is_no_job() -> None:
    with pytest.raises(JobNotFound):
        await job(Script(reads=[b""])).status()


async def test_a_record_of_a_newer_version_says_so() -> None:
    with pytest.raises(NewerRecord, match="version 3"):
        await job(Script(reads=[b"3" + WAITING[1:]])).result()


# --- cancelling ---------------------------------------------------------------------------------------------------


async def test_a_job_that_is_claimed_while_it_is_cancelled_is_stopped_at_its_worker() -> None:
    script = Script(reads=[WAITING], replaced=[Replaced.HELD], cancelled=[True])
    assert await job(script).cancel()
    assert script.calls == ["read", "locate", "replace", "cancel"]


async def test_a_job_that_comes_back_while_it_is_cancelled_is_replaced_in_the_end() -> None:
    script = Script(reads=[WAITING], replaced=[Replaced.HELD, Replaced.DONE], cancelled=[False])
    assert await job(script).cancel()
    assert script.calls == ["read", "locate", "replace", "cancel", "read", "locate", "replace"]


async def test_a_job_that_ends_while_it_is_cancelled_says_so() -> None:
    script = Script(reads=[WAITING, after(Succeeded(result=b"1"))], replaced=[Replaced.CHANGED])
    assert not await job(script).cancel()


async def test_a_job_that_always_escapes_is_not_called_cancelled() -> None:
    script = Script(reads=[WAITING], replaced=[Replaced.CHANGED])
    assert not await job(script).cancel()
    assert script.calls.count("replace") == handle.TRIES


async def test_the_record_of_a_cancelled_job_has_a_new_generation_and_an_end() -> None:
    place = Place(status=JobStatus.QUEUED, now_ms=5000, lost=2)
    script = Script(reads=[WAITING], places=[place])
    await job(script).cancel()
    [replacement] = script.replacements
    found = record.decode("j", replacement.record)
    assert (found.status, found.doc.reason, found.doc.finished_ms) == (JobStatus.CANCELLED, "cancelled", 5000)
    assert (replacement.generation, replacement.new_generation) == ("aaaa", found.generation)
    assert found.generation != "aaaa"
    assert replacement.ttl_ms == 3_600_000


async def test_a_result_ttl_of_the_call_goes_before_that_of_the_task_and_the_app() -> None:
    data = WAITING[:19] + msgspec.json.encode(Document(task="t", queue="mail", result_ttl_ms=90_000))
    script = Script(reads=[data])
    await job(script).cancel()
    assert script.replacements[0].ttl_ms == 90_000
    cancelled = job(script := Script(reads=[WAITING]))
    app = App("redis://nowhere.invalid")
    app.task(lambda: None, name="t", result_ttl=60)
    cancelled._core.registry = app.registry
    await cancelled.cancel()
    assert script.replacements[0].ttl_ms == 60_000


@pytest.mark.parametrize("ttl_ms", [0, 7])
async def test_a_record_that_may_be_shown_for_less_than_a_minute_stays_for_one_for_late_repeats(ttl_ms: int) -> None:
    data = WAITING[:19] + msgspec.json.encode(Document(task="t", queue="mail", result_ttl_ms=ttl_ms))
    script = Script(reads=[data])
    await job(script).cancel()
    [replacement] = script.replacements
    assert replacement.ttl_ms == LEAST_TTL_MS
    assert record.decode("j", replacement.record).doc.result_ttl_ms == max(1, ttl_ms)


# --- waiting ------------------------------------------------------------------------------------------------------


async def test_what_is_published_is_the_result_without_another_read() -> None:
    script = Script(reads=[WAITING], news=[None, after(Succeeded(result=b"[1,2]"))])
    assert await job(script).result() == [1, 2]
    assert script.calls == ["read", "ended", "read"]


async def test_a_job_that_ended_before_it_was_subscribed_to_is_found() -> None:
    script = Script(reads=[WAITING, after(Succeeded(result=b"7"))])
    assert await job(script).result() == 7
    assert script.calls == ["read", "ended", "read"]


async def test_a_result_whose_news_was_lost_is_found_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handle, "LOOK_AGAIN_S", 0.01)
    script = Script(reads=[WAITING, WAITING, after(Succeeded(result=b"7"))])
    assert await job(script).result() == 7
    assert script.calls == ["read", "ended", "read", "ended", "read"]


async def test_news_that_the_job_waits_again_is_no_end() -> None:
    script = Script(reads=[WAITING], news=[WAITING, after(Cancelled())])
    with pytest.raises(JobCancelled):
        await job(script).result()


async def test_a_failure_without_an_error_has_its_reason() -> None:
    failed = record.decode("j", after(Failed(error=ErrorInfo(type="x", message="y"), reason="lost")))
    doc = msgspec.structs.replace(failed.doc, error=None)
    script = Script(reads=[b"1fbbbb0000000001000" + msgspec.json.encode(doc)])
    with pytest.raises(JobFailed, match="lost"):
        await job(script).result()


async def test_a_timeout_while_the_server_is_away_says_no_more_than_is_known() -> None:
    script = Script(reads=[WAITING, AWAY], news=())
    with pytest.raises(ResultTimeout, match=r"^job j has not ended within 0\.01 s$"):
        await job(script).result(timeout=0.01)


async def test_a_timeout_of_a_job_that_just_ended_says_to_look_again() -> None:
    script = Script(reads=[WAITING, after(Succeeded(result=b"1"))], news=())
    with pytest.raises(ResultTimeout, match="look again"):
        await job(script).result(timeout=0.01)


@pytest.mark.parametrize(
    ("workers", "said"),
    [
        ({}, r"no live worker serves 'mail' \(none is alive\); start one: python -m aiotq MODULE:APP -q mail"),
        ({"a": ["default"]}, r"no live worker serves 'mail' \(1 serves: default\)"),
        ({"a": ["high", "default"], "b": ["default"]}, r"no live worker serves 'mail' \(2 serve: default, high\)"),
        ({"a": ["mail"], "b": ["default"]}, r"1 live worker serves 'mail' and had no free slot"),
        (
            {"a": ["mail"], "b": ["mail"]},
            r"2 live workers serve 'mail' and had no free slot for it, or the queue is pa",
        ),
    ],
)
async def test_a_timeout_says_who_serves_the_queue(workers: dict[str, list[str]], said: str) -> None:
    script = Script(reads=[WAITING], workers=workers)
    with pytest.raises(ResultTimeout, match=rf"^job j has waited 0\.01 s in queue 'mail'; {said}"):
        await job(script).result(timeout=0.01)


async def test_an_error_of_the_store_is_the_callers() -> None:
    with pytest.raises(StoreUnavailable):
        await job(Script(reads=[AWAY])).result(timeout=5)


async def test_a_timeout_error_that_is_not_the_callers_own_is_not_taken_for_it() -> None:
    with pytest.raises(TimeoutError, match="a socket"):
        await job(Script(reads=[TimeoutError("a socket")])).result(timeout=5)


@pytest.mark.parametrize(
    ("job_id", "shown"),
    [("0197" + "a" * 22 + "d01b77", "d01b77"), ("nightly-2030", "nightly-2030"), ("g" * 32, "g" * 32)],
)
def test_a_generated_id_is_shown_by_its_end(job_id: str, shown: str) -> None:
    assert short(job_id) == shown
