"""OpenTelemetry: traces and metrics by the messaging conventions (pip install 'aiotq[otel]').

`App(middleware=[OpenTelemetry()])`, or `instrument(app)`. The context of an enqueuing goes along in the job's headers
(W3C trace context and baggage, or what the global propagator says). A run is the root of a trace of its own that links
back to it: a job may run days later, and again; one trace of all that would never end.
"""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from opentelemetry import context, metrics, propagate, trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, SpanKind, Status, StatusCode

from aiotq.contrib import semconv
from aiotq.contrib.families import Bounded
from aiotq.errors import UsageError
from aiotq.hooks import Failed, Middleware, Observer, Retried, encoded_headers
from aiotq.version import __version__

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import Span, SpanContext, TracerProvider

    from aiotq.app import App
    from aiotq.hooks import Attempt, Incoming, Outcome, Outgoing, RunNext, SendNext
    from aiotq.job import ErrorInfo

    Attributes = dict[str, str | int]

MAX_LINKS = 128  # of a claim's span; as many as the SDK keeps
BAGGAGE = "baggage"
RETRY = "Retry"  # what a task raises to be run again: no error


class OpenTelemetry(Middleware, Observer):
    """Spans and metrics of an app's jobs. Be the first middleware: a span then covers what the others do.

    tracer_provider, meter_provider: None: the global ones. claims: whether each claim of a worker has a span.
    """

    def __init__(
        self,
        *,
        tracer_provider: TracerProvider | None = None,
        meter_provider: MeterProvider | None = None,
        claims: bool = True,
    ) -> None:
        self._tracer = trace.get_tracer(semconv.AIOTQ, __version__, tracer_provider)
        self._claims = claims
        self._queues = Bounded()  # in metrics: a service may have one for each of its customers
        self._open: dict[tuple[str, int], _Run] = {}  # by the job's id and the attempt's fence
        meter = metrics.get_meter(semconv.AIOTQ, __version__, meter_provider)
        self._sent = meter.create_counter(semconv.SENT, "{message}", "Jobs that were enqueued")
        self._consumed = meter.create_counter(semconv.CONSUMED, "{message}", "Jobs that were claimed")
        bounds = {"explicit_bucket_boundaries_advisory": semconv.BOUNDS_S}
        longer = {"explicit_bucket_boundaries_advisory": semconv.JOB_BOUNDS_S}
        said = "How long enqueuing and claiming took"
        self._operation_s = meter.create_histogram(semconv.OPERATION_DURATION, "s", said, **bounds)
        said = "How long an attempt took"
        self._process_s = meter.create_histogram(semconv.PROCESS_DURATION, "s", said, **longer)
        said = "How long a job had been due when its attempt began"
        self._wait_s = meter.create_histogram(semconv.WAIT_DURATION, "s", said, **longer)

    # --- enqueuing ----------------------------------------------------------------------------------------------

    async def enqueue(self, jobs: Sequence[Outgoing], send: SendNext) -> None:
        """A span of the producer's, whose context goes along with each job."""
        about = _about(semconv.ENQUEUE, semconv.SEND, {job.queue for job in jobs}, {job.task for job in jobs})
        name, attributes, began_s = _name(about), {**about}, time.perf_counter()
        if len(jobs) == 1:
            attributes[semconv.MESSAGE_ID] = jobs[0].id
        else:
            attributes[semconv.BATCH_COUNT] = len(jobs)
        with self._tracer.start_as_current_span(name, kind=SpanKind.PRODUCER, attributes=attributes):
            carrier: dict[str, str] = {}
            with suppress(Exception):  # a propagator's mistake stops no job
                propagate.inject(carrier)
            try:
                await send([job.with_headers(_fitting(job.headers, carrier)) for job in jobs])
            except Exception as error:
                about[semconv.ERROR_TYPE] = type(error).__qualname__
                raise
            finally:
                self._operation_s.record(time.perf_counter() - began_s, self._counted(about))

    def enqueued(self, job: Outgoing, *, existed: bool) -> None:
        """Count it."""
        if not existed:
            self._sent.add(1, self._counted(_about(semconv.ENQUEUE, semconv.SEND, {job.queue}, {job.task})))

    def _counted(self, about: Attributes) -> Attributes:
        """The same for a metric, where each queue that has a name is a series of its own."""
        queue = about.get(semconv.DESTINATION)
        return about if queue is None else {**about, semconv.DESTINATION: self._queues(str(queue))}

    # --- a worker -----------------------------------------------------------------------------------------------

    def claimed(self, attempts: Sequence[Attempt], took_s: float) -> None:
        """One span for all that came in one round trip, with a link to where each was enqueued."""
        about = _about(semconv.CLAIM, semconv.RECEIVE, {attempt.queue for attempt in attempts})
        self._operation_s.record(took_s, about)
        for attempt in attempts:
            self._consumed.add(1, _about(semconv.CLAIM, semconv.RECEIVE, {attempt.queue}, {attempt.task}))
        if not self._claims:
            return
        end_ns = time.time_ns()
        origins = (_origin(_extracted(attempt.headers)) for attempt in attempts[:MAX_LINKS])
        span = self._tracer.start_span(
            _name(about),
            Context(),
            kind=SpanKind.CLIENT,
            attributes={**about, semconv.BATCH_COUNT: len(attempts), semconv.WORKER: attempts[0].worker},
            links=[Link(origin) for origin in origins if origin.is_valid],
            start_time=end_ns - round(took_s * 1e9),
        )
        span.end(end_ns)

    async def run(self, job: Incoming, call: RunNext) -> Any:
        """A trace of its own, linked to the enqueuing; its baggage goes on."""
        current, sent = job.job, _extracted(job.job.headers)
        origin = _origin(sent)
        rooted = trace.set_span_in_context(trace.INVALID_SPAN, sent)
        about = _about(semconv.RUN, semconv.PROCESS, {current.queue}, {current.task})
        span = self._tracer.start_span(
            _name(about),
            rooted,
            kind=SpanKind.CONSUMER,
            attributes={**about, semconv.MESSAGE_ID: current.id, semconv.ATTEMPT: current.attempt},
            links=[Link(origin)] if origin.is_valid else [],
        )
        before, run = self._open.get((current.id, current.fence)), _Run(span)
        if before is not None:  # an outer middleware runs it again
            before.span.end(before.end_ns)
        self._open[current.id, current.fence] = run
        token = context.attach(trace.set_span_in_context(span, rooted))
        try:
            return await call(job)
        finally:
            run.end_ns = time.time_ns()
            context.detach(token)

    def started(self, attempt: Attempt) -> None:
        """Measure how long it waited."""
        if attempt.waited_s is not None:
            about = _about(semconv.RUN, semconv.PROCESS, {attempt.queue}, {attempt.task})
            self._wait_s.record(attempt.waited_s, about)

    def ended(self, attempt: Attempt, outcome: Outcome) -> None:
        """Say what it came to. Of an error no more is said than aiotq stores: it is masked where the task wants it."""
        run = self._open.pop((attempt.id, attempt.fence), None)
        came_to = type(outcome).__name__.lower()
        error = outcome.error if isinstance(outcome, Failed | Retried) else None
        if error is not None and error.type == RETRY and isinstance(outcome, Retried):
            error = None
        if attempt.took_s is not None:
            about = _about(semconv.RUN, semconv.PROCESS, {attempt.queue}, {attempt.task})
            about[semconv.OUTCOME] = came_to
            if error is not None:
                about[semconv.ERROR_TYPE] = error.type
            within = None if run is None else trace.set_span_in_context(run.span, Context())
            self._process_s.record(attempt.took_s, about, within)
        if run is not None:
            run.end(came_to, attempt, error, reason=getattr(outcome, "reason", None))

    def lost(self, attempt: Attempt) -> None:
        """Its span ends: what it comes to does not count."""
        run = self._open.pop((attempt.id, attempt.fence), None)
        if run is not None:
            run.end("lost", attempt, None)


class _Run:
    """A run's span, until it is known what the run came to."""

    def __init__(self, span: Span) -> None:
        self.span = span
        self.end_ns: int | None = None  # None: its code goes on

    def end(self, came_to: str, attempt: Attempt, error: ErrorInfo | None, *, reason: str | None = None) -> None:
        span = self.span
        span.set_attributes({semconv.OUTCOME: came_to, semconv.WORKER: attempt.worker})
        if reason is not None:
            span.set_attribute(semconv.REASON, reason)
        if error is not None:
            span.set_attribute(semconv.ERROR_TYPE, error.type)
            facts = {semconv.EXCEPTION_TYPE: error.type, semconv.EXCEPTION_MESSAGE: error.message}
            if error.frames:
                facts[semconv.EXCEPTION_STACK] = "\n".join(
                    f'  File "{frame.file}", line {frame.line}, in {frame.function}\n    {frame.code}'
                    for frame in error.frames
                )
            span.add_event(semconv.EXCEPTION, facts, self.end_ns)
            span.set_status(Status(StatusCode.ERROR, f"{error.type}: {error.message}"))
        span.end(self.end_ns)


def instrument(
    app: App, *, tracer_provider: TracerProvider | None = None, meter_provider: MeterProvider | None = None
) -> OpenTelemetry:
    """Have an app's jobs traced and measured, if they are not yet. Before a worker starts."""
    known = app._core.hooks.middleware  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
    for middleware in known:
        if isinstance(middleware, OpenTelemetry):
            return middleware
    made = OpenTelemetry(tracer_provider=tracer_provider, meter_provider=meter_provider)
    app.add_middleware(made)
    return made


def _about(operation: str, kind: str, queues: set[str], tasks: set[str] | None = None) -> Attributes:
    about: Attributes = {semconv.SYSTEM: semconv.AIOTQ, semconv.OPERATION: operation, semconv.KIND: kind}
    if len(queues) == 1:
        (about[semconv.DESTINATION],) = queues
    if tasks is not None and len(tasks) == 1:
        (about[semconv.TASK],) = tasks
    return about


def _name(about: Attributes) -> str:
    """Of a span: the operation, and the task if it is of one; else the queue."""
    what = about.get(semconv.TASK) or about.get(semconv.DESTINATION)
    return f"{about[semconv.OPERATION]} {what}" if what else str(about[semconv.OPERATION])


def _fitting(headers: Mapping[str, str], carrier: dict[str, str]) -> dict[str, str]:
    """As much of the context as a job carries besides its own headers: baggage that is too large stays behind."""
    without = {name: value for name, value in carrier.items() if name != BAGGAGE}
    for part in (carrier, without, {"traceparent": carrier["traceparent"]} if "traceparent" in carrier else {}):
        try:
            encoded_headers({**headers, **part})
        except UsageError:
            continue
        return part
    return {}


def _extracted(headers: Mapping[str, str]) -> Context:
    if headers:
        with suppress(Exception):  # an outsider's headers, a propagator's mistake
            return propagate.extract(headers, Context())
    return Context()


def _origin(sent: Context) -> SpanContext:
    """Where a job was enqueued, if its headers say so."""
    return trace.get_current_span(sent).get_span_context()
