"""From `shop.tasks:app` to an App, and what is said where that fails."""

from __future__ import annotations

import importlib
import sys
from textwrap import dedent
from typing import TYPE_CHECKING

import pytest

from aiotq import App
from aiotq.cli import near, resolve
from aiotq.cli.mistake import Mistake

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

HELLO = "from aiotq import App\napp = App()\n"


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Writes modules into the current folder, a new one; `shop_of_tasks` is shop/tasks.py.

    What was imported from there is forgotten afterwards.
    """
    default = App()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(resolve, "default_app", lambda: default)
    known = set(sys.modules)

    def write(**modules: str) -> None:
        for name, source in modules.items():
            file = tmp_path / f"{name.replace('_of_', '/')}.py"
            file.parent.mkdir(exist_ok=True)
            file.write_text(dedent(source))
        importlib.invalidate_caches()

    yield write
    for name in set(sys.modules) - known:
        del sys.modules[name]


def mistake(target: str) -> Mistake:
    with pytest.raises(Mistake) as caught:
        resolve.resolve(target)
    assert caught.value.exit_code == 2
    return caught.value


# --- it works ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", ["hello:app", "hello", "shop.tasks:app", "shop.tasks", "hello:holder.app"])
def test_the_app_of_a_module_in_the_current_folder_is_found(write, target):
    write(hello=HELLO + "class holder:\n    app = app\n", shop_of_tasks=HELLO)
    assert isinstance(resolve.resolve(target), App)


def test_the_current_folder_comes_first_on_the_path(write, tmp_path):
    write(hello=HELLO)
    resolve.resolve("hello")
    assert sys.path[0] == str(tmp_path)


def test_one_app_under_two_names_is_one(write):
    write(hello=HELLO + "again = app\n")
    assert isinstance(resolve.resolve("hello"), App)


def test_a_module_that_uses_task_alone_runs_on_the_default_app(write, monkeypatch):
    write(hello="")
    default = App()
    default.task(name="greet")(lambda: None)
    monkeypatch.setattr(resolve, "default_app", lambda: default)
    assert resolve.resolve("hello") is default
    said = mistake("hello:app")
    assert said.lines == (
        "'hello' has no 'app', and no App at all; its tasks are on the default app",
        "run: python -m aiotq hello",
    )


# --- no such module ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "missing", "guess"),
    [
        ("helo:app", "'helo'", "did you mean hello:app?"),
        ("helo", "'helo'", "did you mean hello:api?"),
        ("shop.task:app", "'shop.task' in 'shop'", "did you mean shop.tasks:app?"),
        ("shp.tasks:app", "'shp' (for 'shp.tasks')", "did you mean shop.tasks:app?"),
        ("shp.task:app", "'shp' (for 'shp.task')", "did you mean shop.tasks:app?"),
        ("hello.tasks:app", "'hello.tasks' in 'hello'", None),
    ],
)
def test_a_missing_module_is_named_with_what_was_probably_meant(write, tmp_path, target, missing, guess):
    write(hello="import aiotq\napi: aiotq.App = aiotq.App()\n", shop_of___init__="", shop_of_tasks=HELLO)
    said = mistake(target)
    assert said.lines == (
        f"there is no module {missing} (looked in the current folder and sys.path)",
        guess or f"the current folder is {tmp_path}",
    )
    assert not said.detail


def test_nothing_is_run_to_find_out_what_was_meant(write):
    write(hello="raise SystemExit('I was run')\n" + HELLO)
    assert mistake("helo:app").lines[1] == "did you mean hello:app?"
    assert near.any_app() == "hello:app"


@pytest.mark.parametrize(
    ("target", "guess"),
    [
        ("hello.py", "did you mean hello:app?"),
        ("./hello.py:api", "did you mean hello:api?"),
        ("shop/tasks.py", "did you mean shop.tasks:app?"),
        ("shop/tasks", "did you mean shop.tasks:app?"),
        ("{here}/hello.py", "did you mean hello:app?"),
        ("nosuch.py", "run: python -m aiotq hello:app"),
        ("/etc/nosuch.py", "run: python -m aiotq hello:app"),
    ],
)
def test_a_files_path_is_answered_with_the_modules_name(write, tmp_path, target, guess):
    write(hello=HELLO, shop_of_tasks=HELLO)
    target = target.format(here=tmp_path)
    path = target.partition(":")[0]
    assert mistake(target).lines == (
        f"{path!r} is a file's path; the name of a module is expected, as in import",
        guess,
    )


@pytest.mark.parametrize("target", ["", ":app", "he-llo:app", "hello..x", "1hello"])
def test_what_can_not_be_a_modules_name_is_said_so(write, target):
    write(hello=HELLO)
    assert "can't be the name of a module" in mistake(target).lines[0]


# --- a module that raises ---------------------------------------------------------------------------------------


def test_an_import_that_raises_shows_the_users_own_traceback_only(write):
    write(hello="import helper\n", helper="def f():\n    secret = 'x'\n    1 / 0\nf()\n")
    said = mistake("hello:app")
    assert said.lines == ("importing 'hello' failed",)
    assert said.detail.splitlines()[0] == "Traceback (most recent call last):"
    assert said.detail.rstrip().endswith("ZeroDivisionError: division by zero")
    assert [line.split('"')[1].rsplit("/", 1)[-1] for line in said.detail.splitlines() if "File" in line] == [
        *["hello.py", "helper.py", "helper.py"]
    ]


def test_the_causes_of_an_error_are_shown_without_our_frames_too(write):
    write(
        hello="""
        from aiotq import App
        app = App()
        try:
            app.task(3)
        except Exception as error:
            raise RuntimeError("no tasks") from error
        """
    )
    detail = mistake("hello").detail
    assert "UsageError" in detail
    assert "RuntimeError: no tasks" in detail
    assert "registry.py" not in detail
    assert "importlib" not in detail


def test_a_missing_import_inside_is_named_as_that(write):
    write(hello="import shop\n\nimport nosuchpackage\n", shop="")
    said = mistake("hello:app")
    assert said.lines == (
        "importing 'hello' failed: there is no module 'nosuchpackage' (imported in hello.py:3)",
        f"is it installed in this environment? ({sys.executable})",
    )
    assert "import nosuchpackage" in said.detail


def test_a_misspelt_import_inside_is_guessed(write):
    write(hello="import shopp\n", shop="")
    assert mistake("hello:app").lines[1] == "did you mean shop?"


def test_a_syntax_error_is_shown_with_its_line(write):
    write(hello="def f(:\n")
    said = mistake("hello")
    assert said.lines == ("importing 'hello' failed",)
    assert "hello.py" in said.detail
    assert "SyntaxError" in said.detail


def test_a_script_that_ends_the_program_is_told_how_not_to(write):
    write(hello="import sys\nsys.exit(3)\n")
    assert mistake("hello").lines == (
        "importing 'hello' ended in sys.exit(3)",
        'put what the script does when run under: if __name__ == "__main__"',
    )


# --- no such App ------------------------------------------------------------------------------------------------


def test_a_missing_attribute_is_answered_with_the_apps_that_there_are(write):
    write(hello=HELLO + "other = App()\n")
    assert mistake("hello:othr").lines == (
        "'hello' has no 'othr'. Apps in it: app, other",
        "run: python -m aiotq hello:other",
    )


def test_what_is_no_app_is_said_to_be_what_it_is(write):
    write(hello=HELLO + "def greet(): ...\n")
    assert mistake("hello:greet").lines == (
        "'hello:greet' is no App, but a function. Apps in it: app",
        "run: python -m aiotq hello:app",
    )


def test_two_apps_are_one_too_many_to_choose_from(write):
    write(hello=HELLO + "other = App()\n")
    assert mistake("hello").lines == ("'hello' has 2 Apps: app, other", "run: python -m aiotq hello:app")


def test_neither_an_app_nor_a_task_leaves_nothing_to_run(write):
    write(hello="x = 1\n")
    assert mistake("hello").lines[0] == "there is no App in 'hello', and no task on the default app"
    assert mistake("hello:app").lines[0] == "'hello' has no 'app', and no App at all"
    assert mistake("hello:x").lines[0] == "'hello:x' is no App, but an int, and there is no App in 'hello'"
