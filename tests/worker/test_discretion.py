"""What nobody shall read: arguments and secrets are in no log, no error and no record that does not need them."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from aiotq import App
from tests.worker.hostile import dead, hello

if TYPE_CHECKING:
    from tests.worker.kit import Events, Keys


def said(events: Events, *, debug: bool) -> str:
    """All text of the lines so far, tracebacks and extras included."""
    lines = [line for line in events.records if debug or line.levelno > 10]
    return "\n".join(f"{line.getMessage()} {line.exc_info} {vars(line)}" for line in lines)


async def test_arguments_are_in_no_line_at_info_or_above(app: App, events: Events) -> None:
    from typing import Literal

    @app.task(name="fail", retries=0)
    async def fail(text: str) -> None:
        raise RuntimeError("something else")

    @app.task(name="choose", retries=0)
    async def choose(text: Literal["a", "b"]) -> None: ...

    app.task(hello, name="hello")
    async with app.worker():
        await (await app.tasks["hello"].delay("canary")).result(timeout=10)
        for task in (fail, choose):
            failed = await dead(app, (await task.delay("canary")).id)  # type: ignore[arg-type]
            assert "canary" not in str(failed)
    assert "canary" not in said(events, debug=False)
    assert "canary" in said(events, debug=True)  # it was asked for


SWEAR = """
from aiotq import App

app = App()


@app.task(process=True, retries=0, sensitive={"password"}, name="swear")
def swear(user: str, password: str, *, wrong: bool = False) -> str:
    if wrong:
        raise ValueError(f"{user} has no password {password!r}")
    return password
"""


@pytest.mark.parametrize("where", ["loop", "thread", "process"])
async def test_a_sensitive_argument_is_in_no_line_and_no_error(
    app: App, events: Events, keys: Keys, where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "swearing.py").write_text(SWEAR)
    monkeypatch.syspath_prepend(tmp_path)
    module = importlib.import_module("swearing")
    inner = module.swear.registered.fn

    async def on_loop(user: str, password: str, *, wrong: bool = False) -> str:
        return inner(user, password, wrong=wrong)

    if where == "process":
        there = module.app
        core = there._core
        core.override, core.settings = app.source().url, app._core.settings
    else:
        there = app
        fn = on_loop if where == "loop" else inner
        there.task(fn, name="swear", retries=0, sensitive={"password"})
    swear = there.tasks["swear"]
    async with there, there.worker(pool_processes=1):
        assert await (await swear.delay("ada", "canary-1234")).result(timeout=30) == "canary-1234"
        failed = await dead(there, (await swear.delay("eve", password="canary-1234", wrong=True)).id)
    sys.modules.pop("swearing")
    assert failed.error_message == "eve has no password '***'"
    assert failed.frames
    assert "canary-1234" not in str(failed) + said(events, debug=True)
    assert len(events.of("arguments")) == len(events.of("started")) == 2
    record = await keys.record(failed.job_id) or b""
    assert record.count(b"canary-1234") == 1  # the argument itself: a person may have it retried


async def test_a_task_may_keep_its_traceback_out_of_its_record(app: App, keys: Keys) -> None:
    @app.task(name="fail", retries=0, store_traceback=False)
    async def fail() -> None:
        password = "canary"
        raise ValueError(len(password))

    @app.task(name="tell", retries=0)
    async def tell() -> None:
        password = "canary"
        raise ValueError(len(password))

    async with app.worker():
        silent, told = [await dead(app, (await task.delay()).id) for task in (fail, tell)]
    assert (silent.error_type, silent.error_message, silent.frames) == ("ValueError", "6", ())
    assert told.frames
    assert b"canary" not in (await keys.record(told.job_id) or b"")  # no locals


async def test_what_is_stored_of_an_error_takes_64_kib_at_most(app: App, keys: Keys) -> None:
    def deep(levels: int) -> None:
        if levels:
            deep(levels - 1)
        raise type("E" * 100_000, (ValueError,), {})("€" * 100_000)

    @app.task(name="fail", retries=0)
    async def fail() -> None:
        code = "def " + "f" * 50_000 + "(deep):\n    deep(200)\n"
        scope: dict[str, Any] = {}
        exec(compile(code, "/" + "d" * 50_000 + ".py", "exec"), scope)
        scope["f" * 50_000](deep)

    async with app.worker():
        failed = await dead(app, (await fail.delay()).id)
    assert len(failed.error_type) <= 200
    assert len(await keys.record(failed.job_id) or b"") < 64 << 10
