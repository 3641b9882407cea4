"""How long the record of a job that has ended is kept."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from aiotq import App
from tests.worker.kit import ended

if TYPE_CHECKING:
    from tests.worker.kit import Keys

HOUR_S, DAY_S = 3_600, 86_400


async def ttl_s(keys: Keys, job_id: str) -> float:
    return await keys.client.pttl(f"{keys.prefix}job:{job_id}") / 1000


@pytest.mark.parametrize(
    ("task_ttl", "call_ttl", "kept_s"),
    [(None, None, HOUR_S), (7_200, None, 7_200), (7_200, 300, 300), (None, 2 * DAY_S, 2 * DAY_S)],
    ids=["the app's", "the task's", "the call's", "the call's, longer"],
)
async def test_a_result_is_kept_as_the_call_says_else_the_task_else_the_app(
    app: App, keys: Keys, task_ttl: Any, call_ttl: Any, kept_s: float
) -> None:
    @app.task(result_ttl=task_ttl)
    async def job() -> str:
        return "kept"

    async with app.worker():
        sent = await job.options(result_ttl=call_ttl).delay()
        await ended(sent)
    assert kept_s - 60 < await ttl_s(keys, sent.id) <= kept_s


async def test_a_failed_job_is_kept_for_the_apps_failure_ttl_whatever_its_result_ttl(app: App, keys: Keys) -> None:
    patient = App(app.source().url, namespace=app._core.settings.namespace, failure_ttl=5 * DAY_S)

    @patient.task(retries=0, result_ttl=60)
    async def job() -> None:
        raise ValueError

    async with patient, patient.worker():
        sent = await job.delay()
        await ended(sent)
    assert 5 * DAY_S - 60 < await ttl_s(keys, sent.id) <= 5 * DAY_S
    assert await keys.client.pttl(f"{keys.prefix}dead") > 0


async def test_the_record_outlasts_a_short_result_ttl_so_that_a_late_repeat_finds_it(app: App, keys: Keys) -> None:
    @app.task(result_ttl=0.001)
    async def job() -> str:
        return "short-lived"

    async with app.worker() as worker:
        sent = await job.options(job_id="once").delay()
        await worker.run_until_empty()
        assert 30 < await ttl_s(keys, sent.id) <= 60
        again = await job.options(job_id="once").delay()
        assert again.existed
        await worker.run_until_empty()
        assert worker.tally["succeeded"] == 1
