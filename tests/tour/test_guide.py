"""The guide for services, executed as it stands."""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

from aiotq import App, errors

if TYPE_CHECKING:
    from tests.servers import Server

GUIDE = Path(__file__).parents[2].joinpath("docs", "guide.md").read_text("utf-8")
SERVICE, RETRIES, CORES, NOTES, LIMIT, TESTS = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)


def execute(code: str, *, module: str, namespace: str) -> dict[str, Any]:
    """The names that a module of this code has."""
    made = ModuleType(module)
    exec(compile(code.replace("App()", f"App(namespace={namespace!r})"), "guide.md", "exec"), vars(made))
    return vars(made)


async def test_a_service_opens_its_app_enqueues_and_asks_what_came_of_it(
    valkey: Server, namespace: str, monkeypatch: pytest.MonkeyPatch, app: App
) -> None:
    monkeypatch.setenv("AIOTQ_URL", valkey.url)
    code = execute(SERVICE, module="service", namespace=namespace)
    async with code["lifespan"](object()), code["app"].worker():
        assert await code["outcome"](await code["order"](7)) == "bill for 7"


async def test_a_task_that_keeps_a_core_busy_runs_in_a_process(
    valkey: Server, namespace: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, app: App
) -> None:
    monkeypatch.setenv("AIOTQ_URL", valkey.url)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "cores_of_the_guide.py").write_text(CORES.replace("App()", f"App(namespace={namespace!r})"), "utf-8")
    cores: Any = importlib.import_module("cores_of_the_guide")
    async with cores.app.worker(pool_processes=1):
        assert await (await cores.primes.delay(100)).result(timeout=30) == 25


async def test_a_job_is_followed_while_it_goes_on_and_its_log_is_read(
    valkey: Server, namespace: str, monkeypatch: pytest.MonkeyPatch, app: App
) -> None:
    monkeypatch.setenv("AIOTQ_URL", valkey.url)
    code = execute(NOTES, module="notes", namespace=namespace)
    async with code["app"], code["app"].worker():
        exports, resizes = await code["export"].delay(5), await code["resize"].delay(["a.png", "b.png"])
        assert (await code["follow"](exports.id))[-1] == "5 of 5: page 5"
        assert (await code["follow"](resizes.id))[-1] == "2 of 2: b.png"
        assert await code["lines"](exports.id) == ["info: 5 pages to go", "warning: page 2 is empty"]
        assert await exports.result(timeout=10) == "done"
    for handler in list(code["log"].handlers):
        code["log"].removeHandler(handler)


def waits(app: App, task: str) -> list[float]:
    """The longest waits after each attempt, in seconds."""
    registered = app.registry.get(task)
    assert registered is not None
    return [registered.policy.delay_s(attempt, 1.0) for attempt in range(1, registered.retries + 1)]


async def test_retries_wait_as_the_comments_say() -> None:
    theirs: App = execute(RETRIES, module="retries", namespace="guide")["app"]
    assert waits(theirs, "retries:fetch") == [2, 4, 8, 16, 32]
    assert waits(theirs, "retries:upload") == [1, 10, 60, 60]
    assert waits(theirs, "retries:once") == []
    plain = App()
    plain.task(name="plain")(lambda: None)
    assert waits(plain, "plain") == [1, 2, 4]


async def test_retry_reject_and_no_retries_do_as_the_comments_say(
    valkey: Server, namespace: str, monkeypatch: pytest.MonkeyPatch, app: App
) -> None:
    monkeypatch.setenv("AIOTQ_URL", valkey.url)
    code = execute(RETRIES, module="retries", namespace=namespace)
    async with code["app"], code["app"].worker():
        busy, none, failed = (
            await code["upload"].delay("busy"),
            await code["upload"].delay(""),
            await code["once"].delay(),
        )
        with pytest.raises(errors.JobFailed, match=r"attempt 1: .*Reject: no path"):
            await none.result(timeout=10)
        with pytest.raises(errors.JobFailed, match="attempt 1: ValueError: no"):
            await failed.result(timeout=10)
        with pytest.raises(errors.ResultTimeout, match=r"its next attempt is due in (300\.0|2\d\d\.\d) s"):
            await busy.result(timeout=0.1)
        assert await busy.cancel()


async def test_calls_that_do_not_fit_their_queue_are_told(
    valkey: Server, namespace: str, monkeypatch: pytest.MonkeyPatch, app: App
) -> None:
    monkeypatch.setenv("AIOTQ_URL", valkey.url)
    limit = "max_len={'email': 2}"
    code = LIMIT.replace('max_len={"email": 10_000}', f"namespace={namespace!r}, {limit}")
    theirs = execute(code, module="limit", namespace=namespace)
    async with theirs["app"]:
        assert await theirs["invite"](["Ada", "Bob", "Cyd"]) == ["Cyd"]
        async with theirs["app"].worker() as worker:
            await worker.run_until_empty()
        assert await theirs["invite"](["Cyd"]) == []
        async with theirs["app"].worker() as worker:
            await worker.run_until_empty()


async def test_the_examples_of_tests_are_tests(namespace: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIOTQ_URL", f"memory://{namespace}")
    service = ModuleType("service")
    vars(service).update(execute(SERVICE, module="service", namespace=namespace))
    monkeypatch.setitem(sys.modules, "service", service)
    theirs = execute(TESTS, module="test_service", namespace=namespace)
    tests = [value for name, value in theirs.items() if name.startswith("test_")]
    assert len(tests) == 2
    for test in tests:
        await test()
