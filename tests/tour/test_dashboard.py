"""The page on the dashboard, executed as it stands."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from tests.web.visitor import visitor

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "dashboard.md").read_text("utf-8")
MOUNTED, GUARDED = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


def names_of(*codes: str) -> dict[str, Any]:
    """The names that a module of these has."""
    names: dict[str, Any] = {}
    exec(compile("\n".join(codes), "dashboard.md", "exec"), names)
    return names


async def test_a_service_has_the_dashboard_in_it() -> None:
    async with visitor(names_of(MOUNTED)["service"]) as client:
        shown = await client.get("/jobs/nowhere")
        assert (shown.status_code, "there is no such page" in shown.text) == (404, True)


async def test_the_hook_of_the_page_says_who_comes() -> None:
    # Of two at one path the first would answer: here the one with the hook is alone.
    alone = MOUNTED.replace('service.mount("/jobs", aiotq_dashboard(app))', "")
    async with visitor(names_of(alone, GUARDED)["service"]) as client:
        assert (await client.get("/jobs/nowhere")).status_code == 403
        shown = await client.get("/jobs/nowhere", headers={"X-Forwarded-User": "ada"})
        assert "you are ada (dashboard)" in shown.text


def test_each_picture_that_a_page_names_is_there_each_is_named_by_one_and_all_of_them_are_small() -> None:
    named = {
        name
        for page in (ROOT / "docs").glob("*.md")
        for name in re.findall(r"pictures/([\w-]+\.png)", page.read_text("utf-8"))
    }
    files = list((ROOT / "docs" / "pictures").iterdir())
    assert "night.png" in named
    assert named == {path.name for path in files}
    assert sum(path.stat().st_size for path in files) < 3_000_000
