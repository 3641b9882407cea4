"""A worker's own metrics, as they are scraped."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry.sdk.trace import TracerProvider
from prometheus_client import CollectorRegistry
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from aiotq import App, RetryPolicy, current_job, probes
from aiotq.contrib.families import OTHER, UNKNOWN, WORKER, Bounded
from aiotq.contrib.otel import OpenTelemetry
from aiotq.contrib.prometheus import Prometheus
from aiotq.health import WELL
from tests.worker.kit import Gate, fetcher_of, until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.worker.kit import Keys


def samples(page: bytes) -> dict[tuple[str, tuple[str, ...]], float]:
    """By name, and the values of the labels in the order of the labels' names."""
    return {
        (sample.name, tuple(sample.labels[label] for label in sorted(sample.labels))): sample.value
        for family in text_string_to_metric_families(page.decode())
        for sample in family.samples
        if not sample.name.endswith("_created")
    }


def on(app: App, **given: Any) -> Prometheus:
    made = Prometheus(CollectorRegistry(**given))
    app.add_observer(made)
    return made


async def test_what_a_worker_does_is_counted_by_task_queue_and_outcome(app: App) -> None:
    made = on(app)

    @app.task(name="work", queue="mail", retries=1, retry=RetryPolicy(delays=[0]))
    async def work(fail: int) -> None:
        if current_job().attempt <= fail:
            raise ValueError

    async with app.worker(concurrency=7) as worker:
        await app.enqueue_many([work.s(0), work.s(0), work.s(1), work.s(2)])
        await worker.run_until_empty()
        page, kind = made.metrics_page("")
        now = samples(page)
    assert kind.startswith("text/plain")
    assert now["aiotq_worker_enqueued_total", ("mail", "work")] == 4
    assert {labels[0]: value for (name, labels), value in now.items() if name == "aiotq_worker_attempts_total"} == {
        "succeeded": 3,
        "retried": 2,
        "failed": 1,
    }
    assert now["aiotq_worker_run_seconds_count", ("mail", "work")] == 6
    assert now["aiotq_worker_wait_seconds_count", ("mail", "work")] == 6
    assert now["aiotq_worker_slots", ()] == 7
    assert now["aiotq_worker_slots_used", ()] == 0
    assert samples(made.metrics_page("")[0])["aiotq_worker_slots", ()] == 0
    stored = {name for family in WORKER.values() for name in family.samples}
    assert {name for name, _ in now} <= stored


async def test_tasks_that_a_worker_does_not_know_are_one_label_whatever_they_are_called(app: App) -> None:
    here = App(app.source().url, namespace=app.namespace, unknown_for=0)
    made = on(here)

    async def nothing() -> None: ...

    late = here.task(nothing, name="late")
    names = ["made-up-1", "made-up-2", "made-up-3", "x" * 200]
    strange = [app.task(nothing, name=name, retries=0) for name in names]
    async with here:
        await late.options(expires=0.001).delay()
        await app.enqueue_many([task.s() for task in strange])
        await asyncio.sleep(0.005)  # until it has expired
        async with here.worker() as worker:
            await worker.run_until_empty()
        now = samples(made.metrics_page("")[0])
    assert {labels: value for (name, labels), value in now.items() if name == "aiotq_worker_attempts_total"} == {
        ("failed", "default", UNKNOWN): 4,
        ("cancelled", "default", "late"): 1,  # known, though it was never started
    }


async def test_slots_are_used_while_jobs_run_and_free_when_they_are_lost(app: App, keys: Keys) -> None:
    made, gate = on(app), Gate(2)

    @app.task(name="work")
    async def work() -> None:
        if current_job().attempt and not now("aiotq_worker_lost_total"):
            await gate.pass_through()

    def now(name: str) -> float:
        return sum(value for (one, _), value in samples(made.metrics_page("")[0]).items() if one == name)

    async with app.worker() as worker:
        jobs = await app.enqueue_many([work.s(), work.s()])
        await gate.reached()
        assert now("aiotq_worker_slots_used") == 2
        await keys.reclaim(app._core.client().store, fetcher_of(worker).worker_id)
        await until(lambda: now("aiotq_worker_lost_total") == 2)
        for job in jobs:
            await job.result(timeout=20)
    assert now("aiotq_worker_slots_used") == 0
    assert not made._traces


async def test_runs_carry_their_trace_as_exemplar_where_they_are_traced(app: App) -> None:
    tracers = TracerProvider()
    app.add_middleware(OpenTelemetry(tracer_provider=tracers))
    made = on(app)

    @app.task(name="work")
    async def work() -> None: ...

    async with app.worker() as worker:
        await work.delay()
        await worker.run_until_empty()
    page, kind = made.metrics_page("application/openmetrics-text; version=1.0.0")
    assert kind.startswith("application/openmetrics-text")
    found = [
        sample.exemplar.labels
        for family in openmetrics(page.decode())
        for sample in family.samples
        if sample.exemplar is not None
    ]
    assert [set(labels) for labels in found] == [{"trace_id", "span_id"}]
    assert not made._traces
    tracers.shutdown()


async def test_without_traces_there_are_no_exemplars(app: App) -> None:
    made = on(app)

    @app.task(name="work")
    async def work() -> None: ...

    async with app.worker() as worker:
        await work.delay()
        await worker.run_until_empty()
    assert b"trace_id" not in made.metrics_page("application/openmetrics-text")[0]


def test_names_beyond_a_bound_are_one() -> None:
    bounded = Bounded(2)
    assert [bounded(name) for name in ("a", "b", "c", "a", "d" * 300)] == ["a", "b", OTHER, "a", OTHER]
    assert len(Bounded()("x" * 300)) == 200
    assert Bounded()("a\ud800b") == "a\\ud800b"  # what no page could be encoded with


@pytest.mark.parametrize("accept", ["", "application/openmetrics-text; version=1.0.0"])
def test_the_health_port_serves_them_under_metrics_and_goes_on_if_they_fail(accept: str) -> None:
    made = Prometheus(CollectorRegistry())
    fails: list[bool] = []

    def page(asked: str) -> tuple[bytes, str]:
        if fails:
            raise ValueError
        return made.metrics_page(asked)

    listening = probes.listen("127.0.0.1", 0)
    url = probes.address_of(listening)
    with probes.answering(listening, lambda: WELL, page):
        request = urllib.request.Request(f"{url}/metrics", headers={"Accept": accept})
        with urllib.request.urlopen(request, timeout=10) as answer:
            assert b"aiotq_worker_slots" in answer.read()
            assert answer.headers["Content-Type"].startswith(accept.partition(";")[0] or "text/plain")
        fails.append(True)
        with pytest.raises(urllib.error.HTTPError, match="500"):
            urllib.request.urlopen(f"{url}/metrics", timeout=10)
        with urllib.request.urlopen(f"{url}/readyz", timeout=10) as answer:
            assert answer.read() == b"ok\n"
    listening = probes.listen("127.0.0.1", 0)
    url = probes.address_of(listening)
    with probes.answering(listening, lambda: WELL), pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(f"{url}/metrics", timeout=10)


def test_several_processes_that_share_a_folder_show_their_sum(tmp_path: Path) -> None:
    code = """
import sys
from aiotq.contrib.prometheus import Prometheus
from aiotq.hooks import Attempt, Succeeded
made = Prometheus()
attempt = Attempt(id=sys.argv[1], task="work", queue="mail", number=1, fence=1, worker="w", waited_s=0.1, took_s=0.2)
made.working("w", slots=5, queues=["mail"])
made.started(attempt)
made.ended(attempt, Succeeded(result=None))
sys.stdout.write(made.metrics_page("")[0].decode())
"""
    env = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    said = [
        subprocess.run([sys.executable, "-c", code, name], env=env, capture_output=True, check=True).stdout
        for name in ("j1", "j2")
    ]
    counted = [samples(page)["aiotq_worker_attempts_total", ("succeeded", "mail", "work")] for page in said]
    assert counted == [1, 2]
