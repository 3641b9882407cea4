"""Traces and metrics, as the SDK's in-memory exporters get them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry import baggage, context, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.semconv._incubating.attributes import messaging_attributes
from opentelemetry.semconv._incubating.metrics import messaging_metrics
from opentelemetry.semconv.attributes import error_attributes, exception_attributes
from opentelemetry.trace import SpanKind, StatusCode

from aiotq import App, Middleware, Reject, Retry, RetryPolicy, current_job
from aiotq.contrib import semconv
from aiotq.contrib.families import MOST_NAMES, OTHER
from aiotq.contrib.otel import OpenTelemetry, instrument
from aiotq.errors import JobCancelled, JobFailed, StoreUnavailable
from tests.worker.kit import Gate, fetcher_of, until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from opentelemetry.sdk.trace import ReadableSpan

    from aiotq.hooks import Incoming, RunNext
    from tests.worker.kit import Keys

AT_ONCE = RetryPolicy(delays=[0])


class Telemetry:
    """An app's OpenTelemetry and what it exports."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        self.tracers = TracerProvider()
        self.tracers.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.reader = InMemoryMetricReader()
        self.meters = MeterProvider([self.reader])
        self.hook = OpenTelemetry(tracer_provider=self.tracers, meter_provider=self.meters)

    def spans(self, operation: str) -> list[ReadableSpan]:
        """Those that have ended, of an operation."""
        return [span for span in self.exporter.get_finished_spans() if facts(span).get(semconv.OPERATION) == operation]

    def measured(self) -> dict[str, list[tuple[dict[str, Any], float]]]:
        """Of each metric its points: attributes, and the value or the number of measurements."""
        data: Any = self.reader.get_metrics_data()
        return {
            metric.name: [
                (dict(point.attributes), point.count if hasattr(point, "count") else point.value)
                for point in metric.data.data_points
            ]
            for resource in data.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
        }


def facts(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def span_id(span: ReadableSpan) -> int:
    assert span.context is not None
    return span.context.span_id


def trace_id(span: ReadableSpan) -> int:
    assert span.context is not None
    return span.context.trace_id


@pytest.fixture
def telemetry(app: App) -> Iterator[Telemetry]:
    made = Telemetry()
    app.add_middleware(made.hook)
    yield made
    assert not made.hook._open, "spans that never end"
    made.tracers.shutdown()
    made.meters.shutdown()


def test_the_names_are_those_of_the_conventions() -> None:
    for ours, theirs in {
        semconv.SYSTEM: messaging_attributes.MESSAGING_SYSTEM,
        semconv.OPERATION: messaging_attributes.MESSAGING_OPERATION_NAME,
        semconv.KIND: messaging_attributes.MESSAGING_OPERATION_TYPE,
        semconv.DESTINATION: messaging_attributes.MESSAGING_DESTINATION_NAME,
        semconv.MESSAGE_ID: messaging_attributes.MESSAGING_MESSAGE_ID,
        semconv.BATCH_COUNT: messaging_attributes.MESSAGING_BATCH_MESSAGE_COUNT,
        semconv.ERROR_TYPE: error_attributes.ERROR_TYPE,
        semconv.EXCEPTION_TYPE: exception_attributes.EXCEPTION_TYPE,
        semconv.EXCEPTION_MESSAGE: exception_attributes.EXCEPTION_MESSAGE,
        semconv.EXCEPTION_STACK: exception_attributes.EXCEPTION_STACKTRACE,
        semconv.SENT: messaging_metrics.MESSAGING_CLIENT_SENT_MESSAGES,
        semconv.CONSUMED: messaging_metrics.MESSAGING_CLIENT_CONSUMED_MESSAGES,
        semconv.OPERATION_DURATION: messaging_metrics.MESSAGING_CLIENT_OPERATION_DURATION,
        semconv.PROCESS_DURATION: messaging_metrics.MESSAGING_PROCESS_DURATION,
    }.items():
        assert ours == theirs
    kinds = {kind.value for kind in messaging_attributes.MessagingOperationTypeValues}
    assert {semconv.SEND, semconv.RECEIVE, semconv.PROCESS} <= kinds


async def test_a_run_is_a_trace_of_its_own_that_is_linked_to_where_it_was_enqueued(
    app: App, telemetry: Telemetry
) -> None:
    tracer = telemetry.tracers.get_tracer("test")

    @app.task(name="greet", queue="mail")
    async def greet(name: str) -> int:
        with tracer.start_as_current_span("inside"):
            return trace.get_current_span().get_span_context().trace_id

    async with app.worker():
        with tracer.start_as_current_span("request") as request:
            job = await greet.delay("Ada")
        inside = await job.result(timeout=10)
        await until(lambda: bool(telemetry.spans("run")))
    [enqueue], [claim], [run] = (telemetry.spans(word) for word in ("enqueue", "claim", "run"))
    assert trace_id(enqueue) == request.get_span_context().trace_id
    assert enqueue.parent is not None
    assert enqueue.parent.span_id == request.get_span_context().span_id
    assert len({trace_id(enqueue), trace_id(claim), trace_id(run)}) == 3
    assert inside == trace_id(run)
    for span in (claim, run):
        assert span.parent is None
        [link] = span.links
        assert (link.context.span_id, link.context.trace_id) == (span_id(enqueue), trace_id(enqueue))
    assert [span.name for span in (enqueue, claim, run)] == ["enqueue greet", "claim mail", "run greet"]
    assert [span.kind for span in (enqueue, claim, run)] == [SpanKind.PRODUCER, SpanKind.CLIENT, SpanKind.CONSUMER]
    common = {semconv.SYSTEM: "aiotq", semconv.DESTINATION: "mail"}
    assert facts(enqueue) == common | {
        semconv.OPERATION: "enqueue", semconv.KIND: "send", semconv.TASK: "greet", semconv.MESSAGE_ID: job.id,
    }  # fmt: skip
    assert facts(claim).pop(semconv.WORKER)
    assert facts(run) | {semconv.WORKER: ""} == common | {
        semconv.OPERATION: "run", semconv.KIND: "process", semconv.TASK: "greet", semconv.MESSAGE_ID: job.id,
        semconv.ATTEMPT: 1, semconv.OUTCOME: "succeeded", semconv.WORKER: "",
    }  # fmt: skip
    assert run.status.status_code is StatusCode.UNSET
    assert (run.end_time or 0) >= (run.start_time or 0)


@pytest.mark.parametrize("where_it_runs", ["loop", "thread"])
async def test_the_runs_span_is_the_current_one_in_the_task_and_baggage_goes_along(
    app: App, telemetry: Telemetry, where_it_runs: str
) -> None:
    def seen() -> list[Any]:
        return [trace.get_current_span().get_span_context().span_id, baggage.get_baggage("tenant")]

    async def on_the_loop() -> list[Any]:
        return seen()

    task: Any = app.task(seen if where_it_runs == "thread" else on_the_loop, name="seen")
    token = context.attach(baggage.set_baggage("tenant", "7"))
    job = await task.delay()
    context.detach(token)
    async with app.worker():
        found = await job.result(timeout=10)
        await until(lambda: bool(telemetry.spans("run")))
    assert found == [span_id(telemetry.spans("run")[0]), "7"]
    assert trace.get_current_span() is trace.INVALID_SPAN


async def test_baggage_that_is_too_large_stays_behind_and_the_job_goes(app: App, telemetry: Telemetry) -> None:
    @app.task
    async def seen() -> list[Any]:
        return [sorted(current_job().headers), baggage.get_baggage("b")]

    token = context.attach(baggage.set_baggage("b", "x" * 4_000))
    fits = await seen.delay()
    too_large = await seen.options(headers={"mine": "y" * 200}).delay()
    context.detach(token)
    full = await seen.options(headers={str(n): "" for n in range(16)}).delay()
    async with app.worker():
        assert await fits.result(timeout=10) == [["baggage", "traceparent"], "x" * 4_000]
        assert await too_large.result(timeout=10) == [["mine", "traceparent"], None]
        assert await full.result(timeout=10) == [sorted(str(n) for n in range(16)), None]
        await until(lambda: len(telemetry.spans("run")) == 3)
    assert [len(run.links) for run in telemetry.spans("run")] == [1, 1, 0]


async def test_many_jobs_are_enqueued_and_claimed_under_one_span_each(app: App, telemetry: Telemetry) -> None:
    @app.task(name="one")
    async def one() -> None: ...

    @app.task(name="two", queue="other")
    async def two() -> None: ...

    await app.enqueue_many([one.s() for _ in range(150)] + [two.s()])
    async with app.worker(concurrency=200) as worker:
        await worker.run_until_empty()
    [enqueue], claims, runs = (telemetry.spans(word) for word in ("enqueue", "claim", "run"))
    assert (enqueue.name, facts(enqueue)[semconv.BATCH_COUNT]) == ("enqueue", 151)
    assert semconv.MESSAGE_ID not in facts(enqueue)
    assert sum(facts(claim)[semconv.BATCH_COUNT] for claim in claims) == 151
    assert max(len(claim.links) for claim in claims) <= 128
    assert len(runs) == 151
    assert {run.links[0].context.span_id for run in runs} == {span_id(enqueue)}


async def test_an_error_is_recorded_and_a_retry_that_was_asked_for_is_none(app: App, telemetry: Telemetry) -> None:
    @app.task(name="work", retries=1, retry=AT_ONCE)
    async def work(what: str) -> None:
        if current_job().attempt == 2:
            return
        match what:
            case "retry":
                raise Retry(after=0)
            case "reject":
                raise Reject("no such thing")
            case _:
                raise ValueError("no Bobs")

    async with app.worker():
        for what in ("retry", "error"):
            await (await work.delay(what)).result(timeout=10)
        with pytest.raises(JobFailed):
            await (await work.delay("reject")).result(timeout=10)
        await until(lambda: len(telemetry.spans("run")) == 5)
    runs = telemetry.spans("run")
    assert [
        (facts(run)[semconv.OUTCOME], run.status.status_code, facts(run).get(semconv.ERROR_TYPE)) for run in runs
    ] == [
        ("retried", StatusCode.UNSET, None),
        ("succeeded", StatusCode.UNSET, None),
        ("retried", StatusCode.ERROR, "ValueError"),
        ("succeeded", StatusCode.UNSET, None),
        ("failed", StatusCode.ERROR, "Reject"),
    ]
    assert [len(run.events) for run in runs] == [0, 0, 1, 0, 1]
    [event] = runs[2].events
    said: dict[str, Any] = dict(event.attributes or {})
    assert (event.name, said[semconv.EXCEPTION_TYPE], said[semconv.EXCEPTION_MESSAGE]) == (
        "exception", "ValueError", "no Bobs",
    )  # fmt: skip
    assert 'raise ValueError("no Bobs")' in said[semconv.EXCEPTION_STACK]
    assert runs[2].status.description == "ValueError: no Bobs"
    assert facts(runs[4])[semconv.REASON] == "rejected"


async def test_timeout_is_an_error_and_cancelling_or_stopping_is_none(app: App, telemetry: Telemetry) -> None:
    gate = Gate(comers=2)

    @app.task(name="work", retries=0)
    async def work() -> None:
        await gate.pass_through()

    async with app.worker(grace=0):
        with pytest.raises(JobFailed):
            await (await work.options(timeout=0.05).delay()).result(timeout=10)
        job = await work.delay()
        await gate.reached()
        await job.cancel()
        with pytest.raises(JobCancelled):
            await job.result(timeout=10)
        back = await work.delay()
        await until(lambda: len(gate.here) == 3)
    gate.open()
    async with app.worker():
        await back.result(timeout=10)
        await until(lambda: len(telemetry.spans("run")) == 4)
    runs = telemetry.spans("run")
    assert [(facts(run)[semconv.OUTCOME], facts(run).get(semconv.ERROR_TYPE)) for run in runs] == [
        ("failed", "JobTimeout"),
        ("cancelled", None),
        ("returned", None),
        ("succeeded", None),
    ]


async def test_a_job_that_is_another_workers_now_ends_its_span_as_lost(
    app: App, telemetry: Telemetry, keys: Keys
) -> None:
    gate = Gate()

    @app.task(name="work")
    async def work() -> None:
        if not telemetry.spans("run"):
            await gate.pass_through()

    async with app.worker() as worker:
        job = await work.delay()
        await gate.reached()
        await keys.reclaim(app._core.client().store, fetcher_of(worker).worker_id)
        await job.result(timeout=20)
        await until(lambda: len(telemetry.spans("run")) == 2)
    assert [facts(run)[semconv.OUTCOME] for run in telemetry.spans("run")] == ["lost", "succeeded"]


async def test_what_a_task_keeps_secret_is_in_no_span(app: App, telemetry: Telemetry) -> None:
    @app.task(name="login", retries=0, sensitive={"password"}, store_traceback=False)
    async def login(password: str) -> None:
        raise ValueError(f"wrong: {password}")

    async with app.worker():
        with pytest.raises(JobFailed):
            await (await login.delay("hunter2-secret")).result(timeout=10)
        await until(lambda: bool(telemetry.spans("run")))
    for span in telemetry.exporter.get_finished_spans():
        assert "hunter2" not in span.to_json()
    assert semconv.EXCEPTION_STACK not in (telemetry.spans("run")[0].events[0].attributes or {})


async def test_enqueuing_that_fails_is_an_error_of_its_span() -> None:
    made = Telemetry()
    nowhere = App("redis://127.0.0.1:9", connect_timeout=0.2, middleware=[made.hook])

    @nowhere.task(name="work")
    async def work() -> None: ...

    with pytest.raises(StoreUnavailable):
        await work.delay()
    [span] = made.spans("enqueue")
    assert span.status.status_code is StatusCode.ERROR
    [(about, number)] = made.measured()[semconv.OPERATION_DURATION]
    assert (about[semconv.ERROR_TYPE], number) == ("StoreUnavailable", 1)
    assert semconv.SENT not in made.measured()
    made.tracers.shutdown()
    made.meters.shutdown()


async def test_headers_of_a_stranger_are_no_trace_and_no_error(app: App, telemetry: Telemetry) -> None:
    @app.task(name="work")
    async def work() -> int:
        return 1

    odd = {"traceparent": "00-zz-\x00-01", "tracestate": "=,=" * 50, "baggage": "%%%=;;,\u2028=\U0001f600"}
    app._core.hooked = False  # as a sender without OpenTelemetry
    job = await work.options(headers=odd).delay()
    async with app.worker():
        assert await job.result(timeout=10) == 1
        await until(lambda: bool(telemetry.spans("run")))
    assert not telemetry.spans("run")[0].links


async def test_what_a_stranger_enqueues_makes_no_labels_and_queues_beyond_a_bound_are_one(app: App) -> None:
    here = App(app.source().url, namespace=app.namespace, unknown_for=0)
    made = Telemetry()
    here.add_middleware(made.hook)

    async def nothing() -> None: ...

    work = here.task(nothing, name="work")
    strange = app.task(nothing, name="made-up", retries=0)
    await strange.delay()
    async with here:
        await here.enqueue_many([work.options(queue=f"q-{number}").s() for number in range(MOST_NAMES + 50)])
        async with here.worker() as worker:
            await worker.run_until_empty()
    measured = made.measured()
    assert "made-up" not in str(measured)
    assert not [span for span in made.exporter.get_finished_spans() if "made-up" in span.name]
    assert len({about[semconv.DESTINATION] for about, _ in measured[semconv.SENT]}) == MOST_NAMES + 1
    assert (OTHER, 50) in [(about[semconv.DESTINATION], number) for about, number in measured[semconv.SENT]]
    made.tracers.shutdown()
    made.meters.shutdown()


async def test_metrics_count_and_measure(app: App, telemetry: Telemetry) -> None:
    @app.task(name="work", retries=0)
    async def work(number: int) -> None:
        if number == 0:
            raise ValueError

    async with app.worker() as worker:
        await app.enqueue_many([work.s(number) for number in range(5)])
        await work.options(job_id="once").delay(5)
        await work.options(job_id="once").delay(5)
        await worker.run_until_empty()
    measured = telemetry.measured()
    [(about, sent)] = measured[semconv.SENT]
    assert (about[semconv.TASK], about[semconv.DESTINATION], sent) == ("work", "default", 6)
    assert [number for _, number in measured[semconv.CONSUMED]] == [6]
    took = {
        about[semconv.OUTCOME]: (about.get(semconv.ERROR_TYPE), n) for about, n in measured[semconv.PROCESS_DURATION]
    }
    assert took == {"succeeded": (None, 5), "failed": ("ValueError", 1)}
    assert [number for _, number in measured[semconv.WAIT_DURATION]] == [6]
    operations = {about[semconv.OPERATION] for about, _ in measured[semconv.OPERATION_DURATION]}
    assert operations == {"enqueue", "claim"}


async def test_one_within_a_middleware_that_runs_a_job_twice_ends_both_spans(app: App) -> None:
    class Twice(Middleware):
        async def run(self, job: Incoming, call: RunNext) -> Any:
            await call(job)
            return await call(job)

    made = Telemetry()
    app.add_middleware(Twice())
    app.add_middleware(made.hook)

    @app.task(name="work")
    async def work() -> None:
        await asyncio.sleep(0)

    async with app.worker():
        await (await work.delay()).result(timeout=10)
        await until(lambda: len(made.spans("run")) == 2)
    assert not made.hook._open
    made.tracers.shutdown()
    made.meters.shutdown()


def test_an_app_is_instrumented_once() -> None:
    app = App()
    made = instrument(app)
    assert instrument(app) is made
    hooks = app._core.hooks
    assert hooks.middleware == hooks.observers == (made,)
