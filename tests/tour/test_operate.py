"""The page on seeing, executed as it stands."""

from __future__ import annotations

import re
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

from aiotq import App
from tests.worker.kit import until

if TYPE_CHECKING:
    from tests.servers import Server

PAGE = Path(__file__).parents[2].joinpath("docs", "inspecting.md").read_text("utf-8")
SECTION = PAGE.partition("\n## Seeing\n")[2].partition("\n## ")[0]
(CODE,) = re.findall(r"```python\n(.*?)```", SECTION, re.DOTALL)


@pytest.fixture
def page(valkey: Server, namespace: str, monkeypatch: pytest.MonkeyPatch, app: App) -> dict[str, Any]:
    """The names that a module of its code has."""
    monkeypatch.setenv("AIOTQ_URL", valkey.url)
    made = ModuleType("operate")
    exec(compile(CODE.replace("App()", f"App(namespace={namespace!r})"), "inspecting.md", "exec"), vars(made))
    return vars(made)


async def test_one_look_says_what_is_wrong_and_what_to_do(page: dict[str, Any]) -> None:
    app: App = page["app"]

    @app.task(name="shop:send_mail", queue="mail")
    async def send_mail(to: str) -> None: ...

    async with app:
        await send_mail.delay("ada")
        assert await page["queues"]() == ["mail: 1 wait, 0 run"]
        said = await page["is_all_well"]()
        assert said[0] == ("critical: no worker is alive, and 1 waits. Do: python -m aiotq MODULE:APP -q mail")
        async with app.worker(["mail"]):
            await until(lambda: _nothing_waits(app))
            assert not [line for line in await page["is_all_well"]() if line.startswith("critical")]


async def _nothing_waits(app: App) -> bool:
    return (await app.inspect.queue("mail")).waiting == 0


async def test_what_failed_is_found_and_how_it_went(page: dict[str, Any]) -> None:
    app: App = page["app"]

    @app.task(name="shop:send_mail", retries=0)
    async def send_mail(to: str) -> None:
        raise ConnectionError(f"no way to {to}")

    async with app, app.worker(name="w-1"):
        job = await send_mail.delay("ada")

        async def ended() -> bool:
            return (await job.status()).ended

        await until(ended)
        assert await page["what_failed"]() == [f"{job.id}: ConnectionError: no way to ada"]
        assert await page["how_it_went"](job.id[-6:]) == [
            "enqueued", "attempt 1 started", "attempt 1 failed: ConnectionError: no way to ada",
        ]  # fmt: skip


async def test_a_deploy_is_tried_on_what_waits(page: dict[str, Any]) -> None:
    app: App = page["app"]

    @app.task(name="shop:send_mail")
    async def send_mail(to: str) -> None: ...

    async with app:
        job = await send_mail.delay("ada")
        assert await page["may_deploy"]() == []
        del app.registry._tasks["shop:send_mail"]
        assert await page["may_deploy"]() == [f"{job.id} (shop:send_mail): unknown task"]
        assert (await page["a_day"]())[0] == 0
