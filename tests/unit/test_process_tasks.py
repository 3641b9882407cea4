"""What process=True asks of a function, said where it is declared, or at the latest as a worker starts."""

from __future__ import annotations

import asyncio
import functools
import sys
from types import ModuleType
from typing import Any

import pytest

from aiotq import App
from aiotq.errors import UsageError
from aiotq.registry import task_at
from aiotq.worker.call import Here

here = App("memory://")


@here.task(process=True)
def square(number: int) -> int:
    return number * number


class Shapes:
    @here.task(process=True)
    @staticmethod
    def circle(radius: int) -> int:
        return 3 * radius


def passed_on(found: Any) -> Any:
    @functools.wraps(found)
    def pass_on(*args: Any) -> Any:
        return found(*args)

    return pass_on


@passed_on
@here.task(process=True)
def wrapped() -> int:
    return 1


def plain() -> int:
    return 1


async def test_a_coroutine_function_is_refused() -> None:
    async def fetch() -> None: ...

    with pytest.raises(UsageError, match=r"fetch .* is an async def, .* make it a def, or leave out process=True"):
        here.task(fetch, process=True)


@pytest.mark.parametrize("value", [1, "yes", None])
def test_what_is_no_bool_is_refused(value: Any) -> None:
    with pytest.raises(UsageError, match="process="):
        App().task(plain, process=value)


def test_a_function_that_no_other_process_can_import_is_refused() -> None:
    def inner() -> None: ...

    for function in (inner, lambda: None):
        with pytest.raises(UsageError, match="another process can import by its name; write a def at the top level"):
            App().task(function, process=True, name="it")


def test_a_function_of_a_console_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "__main__", ModuleType("__main__"))
    monkeypatch.setattr(plain, "__module__", "__main__")
    with pytest.raises(UsageError, match="is defined in a console or notebook"):
        App().task(plain, process=True)


def test_a_process_finds_the_task_by_its_name() -> None:
    module = sys.modules[__name__]
    assert task_at(module, "square") is square
    assert task_at(module, "Shapes.circle") is Shapes.circle
    assert task_at(module, "wrapped") is here.tasks[f"{__name__}:wrapped"]
    assert task_at(module, "plain") is None
    assert task_at(module, "no.thing") is None


async def test_a_worker_does_not_start_with_a_task_that_no_process_would_find() -> None:
    app = App("memory://")
    app.task(plain, process=True)
    with pytest.raises(UsageError, match=r"plain' .* is not that task; decorate a def of the module's own"):
        await app.worker().start()


async def test_a_worker_does_not_start_in_a_process_that_imports_a_task(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Here, "importing", True)
    with pytest.raises(UsageError, match='if __name__ == "__main__"'):
        await here.worker().start()


async def test_processes_serve_a_worker_of_any_store() -> None:
    async with here.worker(pool_processes=1) as worker:
        assert worker.pool_processes == 1
        jobs = await asyncio.gather(square.delay(7), Shapes.circle.delay(2), here.tasks[f"{__name__}:wrapped"].delay())
        assert [await job.result(timeout=30) for job in jobs] == [49, 6, 1]
    assert App("memory://").worker(pool_processes=2).pool_processes == 0
