"""All that is known of one job: what happened to it, what it wrote, and no more of its arguments than may be read."""

from __future__ import annotations

import asyncio
import json
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from aiotq import JobStatus, Reject, RetryPolicy, current_job
from aiotq.errors import JobFailed, JobNotFound, UsageError
from tests.inspection.written import card, now_ms

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiotq import App, Inspector

EVIL = '<script>alert("x")</script>\x1b[31m\u202e'


async def test_a_job_that_nobody_knows_is_not_found(look: Inspector) -> None:
    with pytest.raises(JobNotFound):
        await look.job("nobody")
    for evil in ("", "a b", EVIL, "x" * 200):
        with pytest.raises(UsageError):
            await look.job(evil)


async def test_each_attempt_is_on_the_timeline(shop: App, look: Inspector) -> None:
    @shop.task(name="shop:send", retries=2, retry=RetryPolicy(base=0.001, cap=0.002))
    async def send(to: str) -> None:
        raise ValueError(f"no {to}")

    async with shop.worker(name="w-1"):
        job = await send.delay("ada")
        with pytest.raises(JobFailed):
            await job.result(timeout=10)
    detail = await look.job(job.id)
    assert [entry.what for entry in detail.timeline] == [
        "enqueued", "attempt 1 started", "attempt 1 failed", "attempt 2 started", "attempt 2 failed",
        "attempt 3 started", "attempt 3 failed",
    ]  # fmt: skip
    assert {entry.worker for entry in detail.timeline[1:]} == {"w-1"}
    assert detail.timeline[-1].error == "ValueError: no ada"
    assert detail.timeline[-1].took_s is not None
    times = [entry.at for entry in detail.timeline if entry.at]
    assert times == sorted(times)
    assert detail.frames[-1].function == "send"
    assert detail.summary.status is JobStatus.FAILED
    assert detail.summary.attempt == 3
    assert detail.expires_s is not None
    assert detail.expires_s > 86_400


async def test_a_job_that_runs_says_where_and_since_when(shop: App, look: Inspector, raw: Any, prefix: str) -> None:
    @shop.task(name="seven")
    async def seven() -> int:
        return 7

    job = await seven.delay()
    store = shop._core.client().store
    await card(shop, "w1")  # and nobody behind it, who would say since when by himself
    await store.exchange("w1", [], queues=["default"], limit=1)
    vitals = {"jobs": [[job.id, "seven", "default", 1, await now_ms(raw) - 5_000]]}
    await raw.hset(f"{prefix}worker:w1", "vitals", json.dumps(vitals))
    detail = await look.job(job.id)
    assert [entry.what for entry in detail.timeline] == ["enqueued", "attempt 1 started", "running"]
    assert detail.timeline[-1].worker == "at w1"
    assert detail.timeline[-1].took_s is not None
    assert 4 < detail.timeline[-1].took_s < 60
    assert detail.expires_s is None
    await store.retire("w1")
    async with shop.worker():
        await job.result(timeout=5)
    detail = await look.job(job.id)
    assert (detail.result, detail.result_cut) == ("7", False)
    assert detail.info is not None
    assert detail.info.result == 7


async def test_a_job_that_waits_for_its_time_says_so(shop: App, look: Inspector) -> None:
    @shop.task(name="t")
    async def t() -> None: ...

    soon, then = await t.options(countdown=60).delay(), datetime.now(UTC) + timedelta(hours=1)
    later, plain = await t.options(eta=then).delay(), await t.delay()
    assert [entry.what for entry in (await look.job(soon.id)).timeline] == ["enqueued", "due", "scheduled"]
    assert [entry.what for entry in (await look.job(plain.id)).timeline] == ["enqueued", "waits"]
    detail = await look.job(later.id)
    due = detail.timeline[1].at
    assert due is not None
    assert abs(due - then) < timedelta(seconds=1)
    await soon.cancel()
    detail = await look.job(soon.id)
    assert detail.timeline[-1].what == "cancelled"
    assert detail.summary.status is JobStatus.CANCELLED


async def test_sensitive_parameters_are_masked_and_then_the_hook_says_what_is_left(shop: App, look: Inspector) -> None:
    @shop.task(name="shop:login", sensitive={"password"})
    async def login(user: str, password: str, *, note: str = "") -> None: ...

    job = await login.delay("ada", "hunter2", note="blue")
    detail = await look.job(job.id)
    assert detail.info is not None
    assert detail.info.arguments == {"args": ["ada", "***"], "kwargs": {"note": "blue"}}
    assert "hunter2" not in repr(detail)
    assert json.loads(detail.arguments) == detail.info.arguments
    seen: list[tuple[str, Mapping[str, Any]]] = []

    def hook(task: str, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        seen.append((task, arguments))
        return {**arguments, "kwargs": {"note": "hidden"}}

    detail = await look.redacting(hook).job(job.id)
    assert seen == [("shop:login", {"args": ["ada", "***"], "kwargs": {"note": "blue"}})]
    assert "blue" not in repr(detail)
    assert json.loads(detail.arguments) == {"args": ["ada", "***"], "kwargs": {"note": "hidden"}}


@pytest.mark.parametrize("server", ["valkey"], indirect=True)
@pytest.mark.parametrize(
    "hook",
    [
        lambda task, arguments: 1 / 0,
        lambda task, arguments: object(),
        lambda task, arguments: {"args": [object()]},
        lambda task, arguments: None,
    ],
)
async def test_where_the_hook_fails_nothing_is_shown(shop: App, look: Inspector, hook: Any) -> None:
    @shop.task(name="t")
    async def t(secret: str) -> None: ...

    job = await t.delay("hunter2")
    detail = await look.redacting(hook).job(job.id)
    assert "hunter2" not in repr(detail)
    assert "the redaction hook raised" in detail.arguments


async def test_whatever_a_job_holds_is_shown_and_nothing_raises(
    shop: App, look: Inspector, raw: Any, prefix: str
) -> None:
    @shop.task(name="evil:task", retries=0)
    async def evil(text: str) -> str:
        if text == EVIL:
            raise Reject(EVIL)
        return EVIL

    async with shop.worker():
        jobs = [await evil.delay(EVIL), await evil.delay("fine")]
        for job in jobs:
            await asyncio.wait([asyncio.ensure_future(_end(job))])
    for job in jobs:
        hostile = [b"\xff", b"{}", json.dumps({"at": 1 << 60, "text": EVIL}).encode(), b"[" * 5_000]
        await raw.rpush(f"{prefix}note:{job.id}", *hostile)
        await raw.set(f"{prefix}progress:{job.id}", b'{"done":1e400}')
        detail = await look.job(job.id)
        assert detail.summary.id == job.id
        assert detail.progress is None
        await raw.delete(f"{prefix}note:{job.id}", f"{prefix}progress:{job.id}")
    assert len((await look.jobs()).items) >= 1


async def _end(job: Any) -> None:
    try:
        await job.result(timeout=5)
    except Exception:  # noqa: BLE001
        pass


@pytest.mark.parametrize("server", ["valkey"], indirect=True)
async def test_what_a_job_wrote_comes_with_it(shop: App, look: Inspector) -> None:
    @shop.task(name="t")
    async def t() -> None:
        await current_job().progress(3, of=10, note="three")
        current_job().log("hello")

    async with shop.worker():
        job = await t.delay()
        await job.result(timeout=5)
    detail = await look.job(job.id)
    assert [line.text for line in detail.logs] == ["hello"]
    assert detail.progress is not None
    assert (detail.progress.done, detail.progress.of, detail.progress.note) == (3, 10, "three")


@pytest.mark.parametrize("server", ["valkey"], indirect=True)
async def test_results_and_arguments_that_are_long_are_cut(shop: App, look: Inspector) -> None:
    @shop.task(name="t")
    async def t(text: str) -> str:
        return text

    async with shop.worker():
        job = await t.delay("x" * 200_000)
        await job.result(timeout=5)
    detail = await look.job(job.id)
    assert (len(detail.arguments), detail.arguments_cut) == (64 << 10, True)
    assert (len(detail.result or ""), detail.result_cut) == (64 << 10, True)


@pytest.mark.parametrize("server", ["valkey"], indirect=True)
@pytest.mark.parametrize("sensitive", [set(), {"other"}])
async def test_as_text_a_job_of_three_hundred_thousand_arguments_costs_no_more_than_what_is_shown(
    shop: App, look: Inspector, sensitive: set[str]
) -> None:
    @shop.task(name="t", sensitive=sensitive)
    async def t(parts: list[Any], other: str = "") -> list[Any]:
        return parts

    parts: list[Any] = [[]] * 300_000
    async with shop.worker():
        job = await t.delay(parts, other="hunter2")
        await job.result(timeout=30)
    took: list[float] = []
    detail = await look.job(job.id, values=False)
    for _ in range(3):
        began = time.process_time()
        await look.job(job.id, values=False)
        took.append(time.process_time() - began)
    whole = json.dumps({"args": [parts], "kwargs": {"other": "***" if sensitive else "hunter2"}}, indent=2)
    assert (detail.arguments, detail.arguments_cut) == (whole[: 64 << 10], True)
    assert (detail.result, detail.result_cut) == (json.dumps(parts, indent=2)[: 64 << 10], True)
    assert detail.info is not None
    assert (detail.info.arguments, detail.info.result) == ({}, None)
    assert min(took) < 0.15  # to decode both would take a quarter of a second, twice over


@pytest.mark.parametrize("server", ["valkey"], indirect=True)
async def test_a_hook_is_asked_only_where_arguments_are_wanted_and_not_about_more_than_it_can_be(
    shop: App, look: Inspector
) -> None:
    @shop.task(name="t", sensitive={"secret"})
    async def t(parts: Any, secret: str) -> None: ...

    few, many = await t.delay(["blue"], "hunter2"), await t.delay([[]] * 60_000, "hunter2")
    asked: list[str] = []

    def hook(task: str, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        asked.append(task)
        return {"args": ["hidden"], "kwargs": {}}

    hiding = look.redacting(hook)
    neither = await hiding.job(few.id, values=False, texts=False)
    assert (neither.arguments, neither.result, neither.info and neither.info.arguments) == ("", None, {})
    assert not asked
    texts = await hiding.job(few.id, values=False)
    assert (json.loads(texts.arguments), len(asked)) == ({"args": ["hidden"], "kwargs": {}}, 1)
    large = await hiding.job(many.id)
    assert "the redaction hook is not asked" in large.arguments
    assert large.info is not None
    assert large.info.arguments == json.loads(large.arguments)
    assert len(asked) == 1
    assert "hunter2" not in repr([neither, texts, large])
