from __future__ import annotations

import functools
import sys
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from aiotq import App, RetryPolicy
from aiotq.errors import UsageError
from aiotq.registry import home

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

HERE = __name__


@pytest.fixture
def app() -> App:
    return App("redis://nowhere.invalid")


async def at_the_top(name: str, *, loud: bool = False) -> str:
    return name.upper() if loud else name


# --- names --------------------------------------------------------------------------------------------------------


def test_a_task_is_known_by_its_module_and_function(app: App) -> None:
    assert app.task(at_the_top).name == f"{HERE}:at_the_top"


def test_a_function_inside_a_function_is_known_by_its_own_name(app: App) -> None:
    @app.task
    def inner() -> None: ...

    assert inner.name == f"{HERE}:inner"


def test_a_name_that_is_given_is_the_name(app: App) -> None:
    assert app.task(at_the_top, name="mail.send").name == "mail.send"


@pytest.mark.parametrize("name", ["", "two words", "line\n", "x" * 256, 7])
def test_a_name_that_is_none_is_refused(app: App, name: Any) -> None:
    with pytest.raises(UsageError, match="name="):
        app.task(at_the_top, name=name)


def test_the_tasks_of_an_app_are_in_the_order_of_their_declaration(app: App) -> None:
    for name in ("c", "a", "b"):
        app.task(at_the_top, name=name)
    assert list(app.tasks) == ["c", "a", "b"]
    assert app.tasks["a"].name == "a"


def test_declaring_the_same_function_again_replaces_it_as_a_reload_does(app: App) -> None:
    def declare(answer: int) -> Any:
        @app.task
        def reloaded() -> int:
            return answer

        return reloaded

    declare(1)
    second = declare(2)
    assert app.tasks == {second.name: second}
    known = app.registry.get(second.name)
    assert known is not None
    assert known.fn() == 2


def test_two_functions_of_one_name_are_refused_with_both_places(app: App) -> None:
    @app.task(name="send")
    def first() -> None: ...

    with pytest.raises(UsageError) as raised:

        @app.task(name="send")
        def second() -> None: ...

    here = Path(__file__).name
    message = str(raised.value)
    assert "'send'" in message
    assert message.count(here) == 2
    assert f":{first.__wrapped__.__code__.co_firstlineno}" in message
    assert app.tasks == {"send": first}


def test_two_lambdas_of_one_name_are_two_functions(app: App) -> None:
    app.task(lambda: 1, name="one")
    with pytest.raises(UsageError, match="two functions"):
        app.task(lambda: 2, name="one")


# --- what can't be a task -----------------------------------------------------------------------------------------


def a_generator() -> Iterator[int]:
    yield 1


async def an_async_generator() -> AsyncIterator[int]:
    yield 1


class Mailer:
    async def send(self) -> None: ...

    @classmethod
    def make(cls) -> None: ...

    @staticmethod
    def lone(to: str) -> str:
        return f"to {to}"

    def __call__(self) -> None: ...


@pytest.mark.parametrize(
    ("target", "why"),
    [
        (a_generator, "generator function"),
        (an_async_generator, "generator function"),
        (lambda: None, "no name"),
        (Mailer.send, "is a method"),
        (Mailer().send, "is a method"),
        (Mailer.make, "is a method"),
        (Mailer.__dict__["make"], "is a method"),
        (Mailer, "is a class"),
        (Mailer(), "is no function"),
        (functools.partial(at_the_top, "Ada"), "is a partial"),
        (print, "is no function"),
        ("send", "is no function"),
    ],
)
def test_what_no_worker_could_call_is_refused_with_the_reason(app: App, target: Any, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        app.task(target)
    assert not app.tasks


def test_the_refusal_names_the_place(app: App) -> None:
    with pytest.raises(
        UsageError, match=rf"a_generator \(.*{Path(__file__).name}:{a_generator.__code__.co_firstlineno}\)"
    ):
        app.task(a_generator)


def test_a_task_is_no_function_to_decorate_again(app: App) -> None:
    with pytest.raises(UsageError, match="is no function"):
        app.task(app.task(at_the_top))


def test_a_method_is_refused_while_its_class_is_made(app: App) -> None:
    with pytest.raises(UsageError, match="is a method"):

        class _Shop:
            @app.task
            def sell(self) -> None: ...


def test_a_static_method_is_a_function(app: App) -> None:
    assert app.task(Mailer.__dict__["lone"]).name == f"{HERE}:Mailer.lone"
    assert app.task(Mailer.lone)("Ada") == "to Ada"


def test_a_lambda_with_a_name_is_a_task(app: App) -> None:
    assert app.task(lambda: 5, name="five")() == 5


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("priority", 10),
        ("retries", -1),
        ("timeout", 0),
        ("result_ttl", -1),
        ("queue", "no spaces"),
        ("store_result", "yes"),
        ("retry", 3),
    ],
)
def test_a_wrong_option_of_a_task_is_refused_by_name(app: App, keyword: str, value: Any) -> None:
    with pytest.raises(UsageError, match=f"{keyword}={value!r}"):
        app.task(**{keyword: value})(at_the_top)


# --- what a worker reads ------------------------------------------------------------------------------------------


def test_what_is_not_said_is_as_usual(app: App) -> None:
    app.task(at_the_top, name="t")
    known = app.registry.get("t")
    assert known is not None
    assert (known.queue, known.priority, known.retries, known.timeout_s) == ("default", 5, 3, None)
    assert (known.policy, known.store_result, known.is_async) == (RetryPolicy(), True, True)


def test_what_is_said_is_kept() -> None:
    app = App(default_queue="low")
    policy = RetryPolicy(delays=[1])
    app.task(at_the_top, name="a", retries=0, timeout=1.5, result_ttl=60, store_result=False, retry=policy, priority=0)
    app.task(lambda: None, name="b", queue="mail")
    known = app.registry.get("a")
    assert known is not None
    assert (known.queue, known.priority, known.retries, known.timeout_s) == ("low", 0, 0, 1.5)
    assert (known.policy, known.store_result, known.result_ttl_s) == (policy, False, 60)
    assert [task.is_async for task in app.registry] == [True, False]
    assert app.registry.queues == ("low", "mail")


def test_the_queues_are_the_default_one_then_the_others_as_declared(app: App) -> None:
    for name, queue in {"1": "mail", "2": "default", "3": "high", "4": "mail"}.items():
        app.task(at_the_top, name=name, queue=queue)
    assert app.registry.queues == ("default", "mail", "high")


def test_the_signature_is_as_it_is_written(app: App) -> None:
    app.task(at_the_top)
    app.task(lambda x, *more: x, name="loose")
    shown = [task.signature for task in app.registry]
    assert shown == ["at_the_top(name: str, *, loud: bool = False) -> str", "loose(x, *more)"]


def test_an_unknown_name_is_met_with_the_nearest_known_ones(app: App) -> None:
    for name in ("shop.tasks:send_mail", "shop.tasks:refund", "shop.old:render"):
        app.task(at_the_top, name=name)
    assert app.registry.nearest("shop.tasks:send_mial") == ("shop.tasks:send_mail",)
    assert app.registry.nearest("tasks:render")[0] == "shop.old:render"
    assert app.registry.nearest("zzz") == ()
    error = app.registry.unknown("refund")
    assert error.nearest[0] == "shop.tasks:refund"
    assert error.known == ("shop.tasks:send_mail", "shop.tasks:refund", "shop.old:render")


# --- the script that is run ---------------------------------------------------------------------------------------


@contextmanager
def running(monkeypatch: pytest.MonkeyPatch, folder: Path, **main: Any) -> Iterator[None]:
    with monkeypatch.context() as patch:
        module = ModuleType("__main__")
        vars(module).update(main)
        patch.setitem(sys.modules, "__main__", module)
        patch.chdir(folder)
        yield


@pytest.mark.parametrize(
    ("script", "name"),
    [
        ("hello.py", "hello"),
        ("shop/tasks.py", "shop.tasks"),
        ("my-scripts/hello.py", "hello"),
        ("../elsewhere.py", "elsewhere"),
    ],
)
def test_a_script_gets_the_name_that_a_worker_in_the_same_folder_imports_it_by(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, script: str, name: str
) -> None:
    with running(monkeypatch, tmp_path, __spec__=None, __file__=script):
        assert home("__main__") == name
        assert home("__mp_main__") == name
        assert home("other") == "other"


def test_a_script_run_as_a_module_keeps_its_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    spec = SimpleNamespace(name="shop.tasks")
    with running(monkeypatch, tmp_path, __spec__=spec, __file__=str(tmp_path / "shop/tasks.py")):
        assert home("__main__") == "shop.tasks"


def test_a_console_has_no_name_but_its_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with running(monkeypatch, tmp_path, __spec__=None):
        assert home("__main__") == "__main__"
