"""`aiotq enqueue`: from `--arg k=v` to arguments, and from a name to a task."""

from __future__ import annotations

import sys
from datetime import datetime
from decimal import Decimal
from enum import Enum
from typing import Any, Literal

import pytest

from aiotq import App
from aiotq.app import default_app
from aiotq.cli.mistake import Mistake
from aiotq.cli.operate import found
from aiotq.cli.operate.arguments import together
from aiotq.cli.operate.reach import Where
from aiotq.registry import TaskOptions, declare


class Size(Enum):
    SMALL = "small"


def task(function):
    return declare(function, TaskOptions())


async def many(
    a_str: str = "",
    an_int: int = 0,
    a_float: float = 0.0,
    a_bool: bool = False,  # noqa: FBT001, FBT002
    an_optional: str | None = None,
    a_list: list[int] = [],  # noqa: B006
    anything: Any = None,
    plain=None,
    at: datetime | None = None,
    price: Decimal = Decimal(0),
    size: Size = Size.SMALL,
    word: Literal["on", "off"] = "on",
    either: int | str = 0,
): ...


@pytest.mark.parametrize(
    ("pair", "value"),
    [
        ("a_str=5", "5"),
        ("a_str=null", "null"),
        ('a_str="quoted"', '"quoted"'),
        ("a_str=a=b", "a=b"),
        ("a_str=", ""),
        ("an_int=5", 5),
        ("a_float=5", 5),
        ("a_bool=true", True),
        ("an_optional=null", None),
        ("an_optional=5", "5"),
        ("an_optional=ada", "ada"),
        ("a_list=[1, 2]", [1, 2]),
        ("anything=5", 5),
        ("anything=ada", "ada"),
        ('anything={"a": [1]}', {"a": [1]}),
        ("plain=true", True),
        ("plain=[", "["),
        ("at=2026-01-31T12:00:00Z", "2026-01-31T12:00:00Z"),
        ("price=1.50", 1.5),
        ("size=small", "small"),
        ("word=off", "off"),
        ("either=5", 5),
        ("either=five", "five"),
    ],
)
def test_a_value_is_json_where_the_annotation_takes_it_and_else_text(pair, value):
    (name,) = [pair.partition("=")[0]]
    given = together(task(many), [pair], None)
    assert given == {name: value}
    assert type(given[name]) is type(value)


@pytest.mark.parametrize(
    ("pair", "said"),
    [
        ("an_int=five", "--arg an_int=five does not fit"),
        ("an_int=5.5", "--arg an_int=5.5 does not fit"),
        ("a_list=[true]", "--arg a_list=[true] does not fit"),
        ("size=huge", "--arg size=huge does not fit"),
        ("a_str", "--arg 'a_str' is no NAME=VALUE"),
        ("=5", "--arg '=5' is no NAME=VALUE"),
    ],
)
def test_what_fits_neither_way_is_refused_before_anything_is_sent(pair, said):
    with pytest.raises(Mistake) as refused:
        together(task(many), [pair], None)
    assert refused.value.lines[0].startswith(said)


async def greet(name: str, times: int = 1): ...


async def gather(**rest: int): ...


@pytest.mark.parametrize(
    ("pairs", "whole", "said"),
    [
        ([], None, "greet() missing a required argument: 'name'"),
        (["name=a", "name=b"], None, "the argument 'name' was given twice"),
        (["name=a"], '{"name": "b"}', "the argument 'name' was given twice"),
        (["nam=a"], None, "greet()"),
        ([], "[1]", "--json-args is no JSON object"),
        ([], "{", "--json-args is no JSON"),
        ([], '{"name": 5}', "--json-args: name does not fit greet(name: str, times: int = 1)"),
    ],
)
def test_a_call_that_can_not_be_made_is_a_mistake(pairs, whole, said):
    with pytest.raises(Mistake) as refused:
        together(task(greet), pairs, whole)
    assert refused.value.lines[0].startswith(said)


def test_the_parameter_that_was_meant_is_named():
    with pytest.raises(Mistake) as refused:
        together(task(greet), ["name=a", "time=2"], None)
    assert refused.value.lines[1].startswith("did you mean --arg times=...?")


def test_both_ways_go_together_and_extra_names_are_typed_too():
    assert together(task(greet), ["times=2"], '{"name": "Ada"}') == {"name": "Ada", "times": 2}
    assert together(task(gather), ["a=1"], None) == {"a": 1}
    with pytest.raises(Mistake):
        together(task(gather), ["a=x"], None)


# --- which task -----------------------------------------------------------------------------------------------------

MODULE = """
from aiotq import App, task
app = App(namespace="theirs")
@app.task
async def greet(name: str) -> str: ...
@app.task(name="mail.send")
async def send(to: str) -> None: ...
class Box:
    @staticmethod
    @app.task
    async def open_it() -> None: ...
@task
async def loose() -> None: ...
"""


@pytest.fixture
def where(tmp_path, monkeypatch):
    (tmp_path / "their_tasks.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", ["", *sys.path])
    yield Where(url="redis://h", namespace="n")
    sys.modules.pop("their_tasks", None)
    for known in (default_app()._tasks, default_app().registry._tasks):
        known.pop("their_tasks:loose", None)


@pytest.mark.parametrize(
    ("name", "task_name"),
    [
        ("their_tasks:greet", "their_tasks:greet"),
        ("their_tasks:send", "mail.send"),
        ("their_tasks:mail.send", "mail.send"),
        ("their_tasks:Box.open_it", "their_tasks:Box.open_it"),
        ("their_tasks:loose", "their_tasks:loose"),
    ],
)
def test_a_task_is_found_in_its_module_and_its_app_pointed_to_the_server(where, name, task_name):
    task = found.task_of(where, name)
    assert task.name == task_name
    assert task.core.override == "redis://h"
    assert task.core.settings.namespace == "n"


@pytest.mark.parametrize("name", ["mail.send", "send", "their_tasks:send"])
def test_with_an_app_the_tasks_name_is_enough(where, name):
    where = Where(target="their_tasks:app")
    if name == "their_tasks:send":
        with pytest.raises(Mistake, match="there is no task"):
            found.task_of(where, name)
    else:
        assert found.task_of(where, name).name == "mail.send"


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("greet", ("'greet' does not say in which module the task is",)),
        ("their_tasks:gret", ("there is no task 'gret' in their_tasks", "did you mean greet?")),
        ("their_tsks:greet", ("there is no module 'their_tsks' (looked in the current folder and sys.path)",)),
        ("their_tasks:App", ("there is no task 'App' in their_tasks",)),
        ("redis://h:x", ()),
    ],
)
def test_a_name_that_leads_nowhere_says_what_was_meant(where, name, lines):
    with pytest.raises(Mistake) as refused:
        found.task_of(where, name)
    assert refused.value.lines[: len(lines)] == lines


def test_two_tasks_of_one_name_are_told_apart(monkeypatch):
    app = App()
    for name in ("a:send", "b:send"):
        app.task(name=name)(greet if name == "a:send" else gather)
    with pytest.raises(Mistake, match="2 tasks are named 'send'"):
        found._named(app, "send")
