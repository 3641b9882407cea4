"""`--reload`: real files are saved, and real workers take the new code, or go on with the old one."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.process.shell import NOBODY, aiotq, folder, start
from tests.process.team import gone
from tests.processes import PATH, children

if TYPE_CHECKING:
    from aiotq import App
    from tests.process.shell import Starter
    from tests.processes import WorkerProcess

__all__ = ["aiotq", "folder", "start"]  # fixtures

PATIENCE_S = 60.0  # of a machine that has other things to do
SHOP = """
import asyncio
from pathlib import Path
from aiotq import App
from shop.words import WORD

app = App()

@app.task
async def say() -> str:
    return WORD

@app.task
async def hold() -> str:
    Path("holding").touch()
    while not Path("go").exists():
        await asyncio.sleep(0.01)
    return WORD
"""


@pytest.fixture
def shop(folder: Path) -> Path:
    """A package with two modules."""
    (folder / "shop").mkdir()
    (folder / "shop" / "__init__.py").touch()
    (folder / "shop" / "tasks.py").write_text(SHOP)
    save(folder, "one")
    return folder


def save(folder: Path, word: str) -> None:
    """As an editor does it: another file takes the place of the old one."""
    (folder / "words.new").write_text(f"WORD = {word!r}\n")
    (folder / "words.new").rename(folder / "shop" / "words.py")


def spoil(folder: Path, code: str = "WORD = (\n") -> None:
    (folder / "shop" / "words.py").write_text(code)


def task(app: App, name: str) -> Any:
    async def anything() -> str: ...

    return app.task(name=f"shop.tasks:{name}")(anything)


async def says(app: App, name: str = "say") -> str:
    return await (await task(app, name).delay()).result(timeout=PATIENCE_S)


async def told(worker: WorkerProcess, event: str, **wanted: object) -> dict[str, Any]:
    """Wait for a log line: each is some processes' start away."""
    return await worker.line(event, timeout_s=PATIENCE_S, **wanted)


async def line(worker: WorkerProcess, text: str) -> str:
    """Wait for a line that holds this, of any form."""
    async with asyncio.timeout(PATIENCE_S), worker._more:
        while not (found := [row for row in worker.output if text in row]):
            await worker._more.wait()
    return found[0]


async def until_there(path: Path) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not path.exists():  # noqa: ASYNC110  another process's file
            await asyncio.sleep(0.01)


async def stopped(worker: WorkerProcess, *, code: int = 0) -> None:
    worker.send_signal(signal.SIGTERM)
    assert await worker.exit(timeout_s=PATIENCE_S) == code, worker.text


def reloads(worker: WorkerProcess) -> int:
    return sum('"reloaded"' in row for row in worker.output)


async def test_a_change_is_taken_up_and_what_is_in_hand_ends_on_the_old_code(
    start: Starter, shop: Path, app: App
) -> None:
    worker = await start("shop.tasks", "--reload")
    held = await task(app, "hold").delay()
    await until_there(shop / "holding")
    [old] = children(worker.pid)

    save(shop, "two")
    said = await told(worker, "reloaded")

    assert said["files"] == [str(Path("shop", "words.py"))]
    assert said["message"].startswith("reloaded after a change in shop/words.py (")
    assert 0 < said["took_s"] < PATIENCE_S
    assert await says(app) == "two"
    (shop / "go").touch()
    assert await held.result(timeout=PATIENCE_S) == "one"
    assert (await held.info()).attempt == 1
    await gone(old)
    await stopped(worker)


async def test_code_that_does_not_load_is_said_and_the_last_good_one_goes_on(
    start: Starter, shop: Path, app: App
) -> None:
    worker = await start("shop.tasks", "--reload")

    spoil(shop)
    said = await told(worker, "not_reloaded")

    assert said["files"] == ["shop/words.py"]
    assert "the code of before goes on until the next one" in said["message"]
    assert "error: importing 'shop.tasks' failed" in worker.text
    assert "SyntaxError: '(' was never closed" in worker.text
    assert "site-packages" not in worker.text
    assert await says(app) == "one"
    spoil(shop, "raise RuntimeError('no words')\n")
    await told(worker, "not_reloaded")
    assert "RuntimeError: no words" in worker.text
    assert await says(app) == "one"
    save(shop, "two")
    await told(worker, "reloaded")
    assert await says(app) == "two"
    await stopped(worker)


async def test_code_that_does_not_load_at_the_start_is_waited_for(start: Starter, shop: Path, app: App) -> None:
    spoil(shop)
    worker = await start("shop.tasks", "--reload", ready=False)
    await told(worker, "waiting")

    save(shop, "one")

    await told(worker, "reloaded")
    assert await says(app) == "one"
    await stopped(worker)


async def test_a_worker_that_waits_for_good_code_ends_at_once_and_well(start: Starter, shop: Path) -> None:
    spoil(shop)
    worker = await start("shop.tasks", "--reload", ready=False)
    await told(worker, "waiting")
    await stopped(worker)


async def test_people_see_the_banner_once_and_a_line_for_each_change(start: Starter, shop: Path, app: App) -> None:
    spoil(shop)
    worker = await start("shop.tasks", "--reload", text=True, ready=False)
    await line(worker, "waiting for a change")
    for word in ("one", "two"):
        save(shop, word)
        while worker.text.count("reloaded after a change in shop/words.py (") < ("one", "two").index(word) + 1:
            async with asyncio.timeout(PATIENCE_S), worker._more:
                await worker._more.wait()
        assert await says(app) == word
    await stopped(worker)
    assert worker.text.count("Ctrl-C stops gently") == 1
    assert worker.text.count("bye.") == 1


async def test_saves_that_follow_each_other_make_one_start(start: Starter, shop: Path, app: App) -> None:
    worker = await start("shop.tasks", "--reload")
    for number in range(5):
        save(shop, str(number))
        (shop / "shop" / f"more{number}.py").touch()

    said = await told(worker, "reloaded")

    assert {"shop/more0.py", "shop/words.py"} <= set(said["files"])
    assert await says(app) == "4"
    await stopped(worker)
    assert reloads(worker) == 1


async def test_two_saves_within_a_second_are_two_codes_though_their_files_look_the_same(
    start: Starter, shop: Path, app: App
) -> None:
    """Bytecode that Python keeps is found by the file's size and the second in which it was written."""
    worker = await start("shop.tasks", "--reload")
    for word in ("two", "six", "ten"):
        save(shop, word)
        os.utime(shop / "shop" / "words.py", (1_000_000_000, 1_000_000_000))
        await told(worker, "reloaded")
        assert await says(app) == word
    await stopped(worker)


async def test_what_is_no_code_of_theirs_changes_nothing(start: Starter, shop: Path, app: App) -> None:
    worker = await start("shop.tasks", "--reload")
    for place in (".venv/lib", ".git", "shop/__pycache__", "node_modules/x"):
        (shop / place).mkdir(parents=True, exist_ok=True)
        (shop / place / "x.py").touch()
    (shop / "shop" / "notes.txt").touch()
    (shop / "shop" / ".#tasks.py").touch()

    save(shop, "two")

    assert (await told(worker, "reloaded"))["files"] == ["shop/words.py"]
    await stopped(worker)
    assert reloads(worker) == 1


async def test_an_import_that_hangs_hurts_nobody_and_newer_code_takes_its_place(
    start: Starter, shop: Path, app: App
) -> None:
    worker = await start("shop.tasks", "--reload")
    spoil(
        shop,
        "import time\nfrom pathlib import Path\nPath('hangs').touch()\nwhile True: time.sleep(1)\n",
    )
    await until_there(shop / "hangs")
    hung = max(children(worker.pid))
    assert await says(app) == "one"

    save(shop, "two")

    await told(worker, "reloaded")
    await gone(hung)
    assert await says(app) == "two"
    await stopped(worker)


async def test_a_hanging_import_does_not_keep_it_from_stopping(start: Starter, shop: Path, app: App) -> None:
    worker = await start("shop.tasks", "--reload")
    spoil(shop, "import time\nfrom pathlib import Path\nPath('hangs').touch()\nwhile True: time.sleep(1)\n")
    await until_there(shop / "hangs")
    await stopped(worker)


async def test_with_several_processes_all_take_it_up_and_what_is_wrong_is_said_once(
    start: Starter, shop: Path, app: App
) -> None:
    worker = await start("shop.tasks", "--reload", "--processes", "2", ready=False)
    old = {(await told(worker, "ready"))["pid"] for _ in range(2)}

    spoil(shop)
    await told(worker, "not_reloaded")
    assert worker.text.count("SyntaxError") == 1
    save(shop, "two")
    await told(worker, "reloaded")

    new = {(await told(worker, "ready"))["pid"] for _ in range(2)}
    assert not new & old
    for pid in old:
        await gone(pid)
    assert {await says(app) for _ in range(10)} == {"two"}
    await stopped(worker)
    assert reloads(worker) == 1


async def test_a_process_that_dies_while_the_code_is_broken_is_replaced_by_the_next_good_one(
    start: Starter, shop: Path, app: App
) -> None:
    worker = await start("shop.tasks", "--reload")
    held = await task(app, "hold").delay()
    await until_there(shop / "holding")
    spoil(shop)
    await told(worker, "not_reloaded")
    [pid] = children(worker.pid)
    os.kill(pid, signal.SIGKILL)
    await told(worker, "waiting")

    save(shop, "two")

    await told(worker, "reloaded")
    (shop / "go").touch()
    assert await held.result(timeout=PATIENCE_S) == "two"
    await stopped(worker)


@pytest.mark.parametrize(("signals", "code"), [(1, 0), (2, 130)])
async def test_signals_do_as_without_it_to_old_and_new(
    start: Starter, shop: Path, app: App, *, signals: int, code: int
) -> None:
    worker = await start("shop.tasks", "--reload")
    jobs = [await task(app, "hold").delay()]
    await until_there(shop / "holding")
    (shop / "holding").unlink()
    save(shop, "two")
    await told(worker, "reloaded")
    jobs.append(await task(app, "hold").delay())
    await until_there(shop / "holding")

    worker.send_signal(signal.SIGINT)
    for _ in range(2):
        await told(worker, "stopping", running=1)
    if signals == 2:
        worker.send_signal(signal.SIGINT)
    else:
        (shop / "go").touch()
    assert await worker.exit(timeout_s=PATIENCE_S) == code, worker.text
    if signals == 2:
        assert [(await job.status()).value for job in jobs] == ["queued"] * 2
        assert [await job.cancel() for job in jobs] == [True, True]
    else:
        assert [await job.result(timeout=PATIENCE_S) for job in jobs] == ["one", "two"]


# --- told at once -------------------------------------------------------------------------------------------------


def test_without_the_extra_it_says_what_to_install(aiotq: Any, folder: Path) -> None:
    (folder / "watchfiles.py").write_text("raise ImportError\n")
    ended = aiotq("hello:app", "--reload", AIOTQ_URL=NOBODY, PYTHONPATH=f"{folder}:{PATH}")
    assert ended.returncode == 2
    assert ended.stderr.splitlines() == [
        "error: --reload: watchfiles is not installed",
        "run: pip install 'aiotq[reload]'",
    ]


def test_a_module_that_is_not_there_is_no_change_to_wait_for(aiotq: Any) -> None:
    ended = aiotq("helo:app", "--reload", AIOTQ_URL=NOBODY)
    assert ended.returncode == 2
    assert "there is no module 'helo'" in ended.stderr


def test_it_does_not_go_with_until_empty(aiotq: Any) -> None:
    ended = aiotq("hello:app", "--reload", "--until-empty", AIOTQ_URL=NOBODY)
    assert ended.returncode == 2
    assert "error: --reload and --until-empty exclude each other" in ended.stderr
