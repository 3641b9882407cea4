from __future__ import annotations

import asyncio
import linecache
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio.to_thread
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiotq import frames
from aiotq.frames import describe, full_traceback, type_name

if TYPE_CHECKING:
    from collections.abc import Callable


def caught(function: Callable[[], Any]) -> BaseException:
    try:
        function()
    except BaseException as error:  # noqa: BLE001  any kind is described
        return error
    raise AssertionError("it raises nothing")


def functions(error: BaseException) -> list[str]:
    return [frame.function for frame in describe(error).frames]


def module(name: str, source: str) -> dict[str, Any]:
    """What a module of that name holds."""
    held: dict[str, Any] = {"__name__": name}
    exec(compile(source, f"<{name}>", "exec"), held)
    return held


CALLS = "def calls(function):\n    return function()\n"


def fail() -> None:
    raise ValueError("no Bobs")


class OutOfStockError(Exception):
    class Inner(Exception):
        pass


class UnshowableError(Exception):
    def __str__(self) -> str:
        raise KeyboardInterrupt

    def __repr__(self) -> str:
        raise SystemExit


class ReprOnlyError(Exception):
    def __str__(self) -> str:
        raise RuntimeError

    def __repr__(self) -> str:
        return "ReprOnly()"


# --- types and texts


def test_a_builtin_is_named_alone_and_any_other_with_its_module() -> None:
    assert type_name(ValueError) == "ValueError"
    assert type_name(OutOfStockError) == f"{__name__}:OutOfStockError"
    assert type_name(OutOfStockError.Inner) == f"{__name__}:OutOfStockError.Inner"
    assert describe(asyncio.CancelledError()).type == "asyncio.exceptions:CancelledError"


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ValueError("no Bobs"), "no Bobs"),
        (ValueError(), ""),
        (ValueError("a", 1), "('a', 1)"),
        (KeyError("Bob"), "'Bob'"),
        (SystemExit(3), "3"),
        (ValueError("lone \ud800 surrogate"), "lone \\ud800 surrogate"),
        (UnshowableError(), "(its text can't be shown: __str__ and __repr__ raise)"),
        (ReprOnlyError(), "ReprOnly()"),
    ],
)
def test_the_message_is_the_exceptions_text(error: BaseException, message: str) -> None:
    assert describe(error).message == message


@given(st.text(st.characters()))
def test_every_message_can_be_encoded(text: str) -> None:
    said = describe(ValueError(text)).message
    assert said.encode() == text.encode("utf-8", "backslashreplace")


def test_a_long_message_is_cut() -> None:
    message = describe(ValueError("x" * 100_000)).message
    assert len(message) == frames.MAX_MESSAGE
    assert message.endswith("x…")
    assert describe(ValueError("x" * frames.MAX_MESSAGE)).message.endswith("xx")


def test_the_cause_is_named() -> None:
    def chained() -> None:
        try:
            fail()
        except ValueError as error:
            raise RuntimeError("no mail") from error

    assert describe(caught(chained)).message == "no mail (caused by ValueError: no Bobs)"


def test_a_cause_that_the_message_tells_already_is_not_told_twice() -> None:
    error = RuntimeError("no mail: no Bobs")
    error.__cause__ = ValueError("no Bobs")
    assert describe(error).message == "no mail: no Bobs"


def test_a_cause_without_a_text_is_named_by_its_type() -> None:
    error = RuntimeError()
    error.__cause__ = ValueError()
    assert describe(error).message == "(caused by ValueError)"


def test_a_group_names_what_it_holds() -> None:
    inner = ExceptionGroup("inner", [KeyError("Bob"), OutOfStockError()])
    group = ExceptionGroup("two failed", [ValueError("no Bobs"), inner])
    assert describe(group).type == "ExceptionGroup"
    assert describe(group).message == f"two failed [ValueError: no Bobs, KeyError: 'Bob', {__name__}:OutOfStockError]"


def test_a_large_group_names_the_first_ones_and_counts_the_rest() -> None:
    message = describe(ExceptionGroup("many", [ValueError(str(number)) for number in range(12)])).message
    assert "ValueError: 9 and 2 more]" in message


def test_a_deeply_nested_group_is_described() -> None:
    group: Any = ValueError("no Bobs")
    for _ in range(5_000):
        group = BaseExceptionGroup("deeper", [group])
    assert describe(group).message == "deeper [ValueError: no Bobs]"
    while isinstance(group, BaseExceptionGroup):  # else its own deallocation would recurse
        group = group.exceptions[0]


# --- frames


def test_frames_name_the_users_lines_from_the_outside_in() -> None:
    *_, outer, inner = describe(caught(lambda: [fail()])).frames
    assert outer.function == "<lambda>"
    assert inner.function == "fail"
    assert inner.code == 'raise ValueError("no Bobs")'
    assert inner.file.endswith("test_frames.py")
    assert linecache.getline(__file__, inner.line).strip() == inner.code


def test_frames_of_aiotq_are_left_out_wherever_they_are() -> None:
    ours = module("aiotq.worker.run", CALLS)["calls"]
    error = caught(lambda: ours(lambda: ours(fail)))
    assert "calls" not in functions(error)
    assert "fail" in functions(error)
    assert functions(error) == [frame.function for frame in describe(error, package="nothing").frames if
                                frame.function != "calls"]  # fmt: skip


def test_another_package_may_begin_with_the_same_letters() -> None:
    theirs = module("aiotq_shop.tasks", CALLS)["calls"]
    assert "calls" in functions(caught(lambda: theirs(fail)))


def test_libraries_that_the_users_code_called_are_kept() -> None:
    library = module("httpx.client", CALLS)["calls"]
    frame = describe(caught(lambda: library(fail))).frames[-2]
    assert (frame.file, frame.line, frame.function, frame.code) == ("<httpx.client>", 2, "calls", "")


async def test_frames_of_what_runs_a_task_are_left_out() -> None:
    def in_a_pool() -> None:
        with ThreadPoolExecutor(1) as pool:
            pool.submit(fail).result()

    async def task() -> None:
        async with asyncio.timeout(5):
            await anyio.to_thread.run_sync(in_a_pool)

    with pytest.raises(ValueError, match="no Bobs") as raised:
        await asyncio.create_task(task())
    plumbing = {Path(asyncio.__file__).parent, Path(threading.__file__), Path(anyio.to_thread.__file__).parent}
    names = functions(raised.value)
    assert [name for name in names if name in {"task", "in_a_pool", "fail"}] == ["task", "in_a_pool", "fail"]
    for frame in describe(raised.value).frames:
        assert not any(Path(frame.file).is_relative_to(folder) for folder in plumbing)
        assert "concurrent" not in Path(frame.file).parts


async def test_a_group_ends_with_the_line_that_really_failed() -> None:
    async def part() -> None:
        fail()

    async def task() -> None:
        async with asyncio.TaskGroup() as parts:
            parts.create_task(part())

    with pytest.raises(ExceptionGroup) as raised:
        await task()
    assert functions(raised.value)[-3:] == ["task", "part", "fail"]


def test_an_exception_that_was_never_raised_has_no_frames() -> None:
    assert describe(ValueError("no Bobs")).frames == ()


def test_of_an_endless_recursion_the_innermost_fifty_lines_are_kept() -> None:
    def endless() -> None:
        endless()

    found = describe(caught(endless))
    assert found.type == "RecursionError"
    assert [frame.function for frame in found.frames] == ["endless"] * frames.MAX_FRAMES


def test_frames_hold_no_values() -> None:
    def secret(password: str) -> None:
        hidden = password * 2
        raise ValueError(len(hidden))

    value = str(271828 * 314159)
    error = caught(lambda: secret(value))
    assert value not in str(describe(error))
    assert value not in full_traceback(error)


def test_a_file_below_the_current_folder_is_shown_from_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "shop" / "tasks.py"
    file.parent.mkdir()
    file.write_text("def send():\n    raise ValueError('no Bobs')\n", "utf-8")
    held: dict[str, Any] = {"__name__": "shop.tasks"}
    exec(compile(file.read_text("utf-8"), str(file), "exec"), held)
    error = caught(held["send"])
    assert describe(error).frames[-1].file == str(file)
    monkeypatch.chdir(tmp_path)
    frame = describe(error).frames[-1]
    assert (frame.file, frame.code) == ("shop/tasks.py", "raise ValueError('no Bobs')")
    monkeypatch.chdir(tmp_path / "shop")
    (tmp_path / "shop" / "tasks.py").unlink()
    (tmp_path / "shop").rmdir()
    assert describe(error).frames[-1].file == str(file), "the current folder has gone"


# --- all of it


def test_the_full_traceback_holds_every_frame_and_cause() -> None:
    ours = module("aiotq.worker.run", CALLS)["calls"]

    def chained() -> None:
        try:
            ours(fail)
        except ValueError as error:
            raise RuntimeError("lone \ud800 surrogate") from error

    text = full_traceback(caught(chained))
    assert "in calls" in text
    assert "ValueError: no Bobs" in text
    assert "The above exception was the direct cause" in text
    assert "lone \\ud800 surrogate" in text


def test_the_full_traceback_of_an_unshowable_exception_is_no_error() -> None:
    class WorstError(UnshowableError):
        @property
        def __notes__(self) -> list[str]:  # pyright: ignore[reportIncompatibleVariableOverride]
            raise KeyboardInterrupt

    assert "UnshowableError" in full_traceback(UnshowableError())
    assert "WorstError: (its traceback can't be shown)" in full_traceback(WorstError())
    assert describe(WorstError()).type.endswith("WorstError")
