"""The example for Sentry, on a transport that keeps what would be sent."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
import sentry_sdk
from sentry_sdk.transport import Transport

from aiotq import App, Reject, Retry, RetryPolicy, current_job
from aiotq.errors import JobCancelled, JobFailed
from examples.sentry import Sentry
from tests.worker.kit import Gate

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sentry_sdk.envelope import Envelope

AT_ONCE = RetryPolicy(delays=[0])


class Kept(Transport):
    """Sends nothing."""

    def __init__(self, options: Any = None) -> None:
        super().__init__(options)
        self.events: list[dict[str, Any]] = []

    def capture_envelope(self, envelope: Envelope) -> None:
        event: Any = envelope.get_event()
        if event is not None:
            self.events.append(event)


@pytest.fixture
def sent() -> Iterator[list[dict[str, Any]]]:
    transport = Kept()
    before = sentry_sdk.get_client()
    client = sentry_sdk.Client(
        dsn="http://key@127.0.0.1:9/1",
        transport=transport,
        default_integrations=False,
        auto_enabling_integrations=False,
    )
    sentry_sdk.get_global_scope().set_client(client)
    yield transport.events
    client.close()
    sentry_sdk.get_global_scope().set_client(before if before.is_active() else None)


async def test_an_error_is_an_event_with_the_job_beside_it(app: App, sent: list[dict[str, Any]]) -> None:
    app.add_middleware(Sentry())

    @app.task(name="greet", queue="mail", retries=1, retry=AT_ONCE)
    async def greet(name: str) -> None:
        sentry_sdk.set_tag("mine", name)
        await asyncio.sleep(0)
        raise ValueError(f"no {name}s")

    async with app.worker():
        jobs = [await greet.options(headers={"tenant": "7"}).delay(name) for name in ("Bob", "Ada")]
        for job in jobs:
            with pytest.raises(JobFailed):
                await job.result(timeout=10)
    assert len(sent) == 4
    of_bob = [event for event in sent if event["contexts"]["aiotq job"]["id"] == jobs[0].id]
    assert [event["contexts"]["aiotq job"]["attempt"] for event in of_bob] == [1, 2]
    for event in of_bob:
        [raised] = event["exception"]["values"]
        assert (raised["type"], raised["value"]) == ("ValueError", "no Bobs")
        assert raised["stacktrace"]["frames"][-1]["function"] == "greet"
        assert event["tags"] == {"aiotq.task": "greet", "aiotq.queue": "mail", "mine": "Bob"}
        assert event["transaction"] == "greet"
        assert event["contexts"]["aiotq job"]["headers"] == {"tenant": "7"}


async def test_what_was_meant_is_no_event(app: App, sent: list[dict[str, Any]]) -> None:
    app.add_middleware(Sentry())
    gate = Gate()

    @app.task(retries=1, retry=AT_ONCE)
    async def work(what: str) -> None:
        match what:
            case "retry" if current_job().attempt == 1:
                raise Retry(after=0)
            case "reject":
                raise Reject("no")
            case "wait":
                await gate.pass_through()
            case _:
                pass

    async with app.worker():
        await (await work.delay("retry")).result(timeout=10)
        with pytest.raises(JobFailed):
            await (await work.delay("reject")).result(timeout=10)
        job = await work.delay("wait")
        await gate.reached()
        await job.cancel()
        with pytest.raises(JobCancelled):
            await job.result(timeout=10)
    assert not sent


async def test_only_the_last_attempt_where_that_is_wanted(app: App, sent: list[dict[str, Any]]) -> None:
    app.add_middleware(Sentry(final_only=True))

    @app.task(retries=2, retry=AT_ONCE)
    def work() -> None:
        raise ValueError(str(current_job().attempt))

    async with app.worker():
        with pytest.raises(JobFailed):
            await (await work.delay()).result(timeout=10)
    assert [event["exception"]["values"][0]["value"] for event in sent] == ["3"]
