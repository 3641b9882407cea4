"""The picture of docs/a-night.md: the overview names each of the five causes, with what to do.

That it does is seen without a browser too, by tests/process/test_walk.py, each time.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.browser.conftest import CHROMIUM, dashboard
from tests.browser.pages import RENAMED
from tests.process.night import prepare
from tests.process.rig import Rig

CAUSES = (
    r"is full: it uses .* and refuses every new job",
    r"names the task 'shop:send_mial', which no worker knows; 'shop:send_mail' looks like it",
    r"worker anna: 1 of its 3 slots holds a job that can't be ended",
    r"queue mail is paused, and 3 jobs wait in it",
    r"shop:thumbnail\) has taken its worker down 4 times",
)

# As on the page: the server of this night listens at a socket.
ON_A_HOST = """() => {
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const node = walker.currentNode;
    node.textContent = node.textContent.replaceAll(/redis-cli -s \\S+/g, "redis-cli -h redis.internal -p 6379");
  }
}"""


@pytest_asyncio.fixture
async def rig(server_folder: Path, namespace: str) -> AsyncIterator[Rig]:
    """A rig whose server has not been started."""
    made = Rig(folder=server_folder, namespace=namespace)
    yield made
    await made.close()


@pytest.mark.skipif("AIOTQ_PICTURES" not in os.environ, reason="AIOTQ_PICTURES names no folder")
@pytest.mark.timeout(400)
async def test_the_overview_names_each_cause_of_a_night(rig: Rig) -> None:
    from playwright.async_api import async_playwright

    night = await prepare(rig)
    with dashboard(rig.url, "--namespace", rig.namespace) as address:
        async with async_playwright() as player:
            browser = await player.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
            page = await browser.new_page(viewport={"width": 1280, "height": 900})
            await page.goto(f"{address}/")
            findings = await page.locator("#live-findings").inner_text()
            for cause in CAUSES:
                assert re.search(cause, " ".join(findings.split())), findings
            await _picture(page, rig, Path(os.environ["AIOTQ_PICTURES"]) / "night.png")
            await browser.close()
    await rig.raw.config_set("maxmemory", "100mb")
    await night.anna.kill()
    await rig.forget_worker(night.anna)
    await rig.stop(night.bob)


async def _picture(page: Any, rig: Rig, file: Path) -> None:
    await page.evaluate(RENAMED, [socket.gethostname(), f"{Path(__file__).parents[2]}/"])
    await page.evaluate(ON_A_HOST)
    await page.evaluate(
        "name => document.querySelectorAll('header *').forEach((each) => { for (const node of each.childNodes)"
        " if (node.nodeType === 3) node.textContent = node.textContent.replaceAll(name, 'shop'); })",
        rig.namespace,
    )
    await page.screenshot(path=str(file))
