"""The page on acting, executed as it stands."""

from __future__ import annotations

import re
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

from aiotq import App
from aiotq.inspection.acts import Act
from aiotq.inspector import Inspector
from tests.worker.kit import until

if TYPE_CHECKING:
    from tests.servers import Server

PAGE = Path(__file__).parents[2].joinpath("docs", "inspecting.md").read_text("utf-8")
SECTION = PAGE.partition("\n## Acting\n")[2].partition("\n## ")[0]
(CODE,) = re.findall(r"```python\n(.*?)```", SECTION, re.DOTALL)


@pytest.fixture
def page(valkey: Server, namespace: str, monkeypatch: pytest.MonkeyPatch, app: App) -> dict[str, Any]:
    """The names that a module of its code has, and a task of its app."""
    monkeypatch.setenv("AIOTQ_URL", valkey.url)
    made = ModuleType("operate")
    exec(compile(CODE.replace("App()", f"App(namespace={namespace!r})"), "inspecting.md", "exec"), vars(made))
    return vars(made)


async def test_after_an_outage_all_that_it_has_failed_is_retried(page: dict[str, Any]) -> None:
    app: App = page["app"]
    away = [True]

    @app.task(name="shop:charge", retries=0)
    async def charge(number: int) -> int:
        if away:
            raise ConnectionError("the bank is away")
        return number

    async with app, app.worker():
        jobs = [await charge.delay(number) for number in range(3)]

        async def all_ended() -> bool:
            return all([(await job.status()).ended for job in jobs])

        await until(all_ended)
        away.clear()
        assert await page["after_the_outage"]() == "3 again, 0 skipped"
        assert [await job.result(timeout=10) for job in jobs] == [0, 1, 2]
        [said] = await page["what_was_done"]()
    assert re.fullmatch(r"ada@laptop: retry all task=charge error=ConnectionError since=\S+: 3 jobs", said)


async def test_a_queue_of_wrong_jobs_is_purged(page: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    app: App = page["app"]

    @app.task(queue="mail")
    async def mail(to: str) -> None: ...

    async with app:
        jobs = [await mail.delay("Ada") for _ in range(4)]
        assert await page["wrong_mails"]() == 4
        assert {(await job.info()).reason for job in jobs} == {"purged"}
        said = await page["what_was_done"]()
    assert "4 mails wait" in capsys.readouterr().out
    assert said == [f"ada@laptop: {what}" for what in ("resume mail: done", "purge mail: 4 jobs", "pause mail: done")]


def test_the_page_names_each_act() -> None:
    for act in (*Act, *(f"{act}_all" for act in Act), "purge", "pause", "resume", "acting"):
        assert hasattr(Inspector, act)
        assert f"`{act}" in SECTION
