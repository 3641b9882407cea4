"""A picture of each page, for the docs."""

from __future__ import annotations

import math
import os
import random
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from redis.asyncio import Redis

from tests.browser.pages import RENAMED, paths, settled

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.browser.conftest import Shop, Visit

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_pictures(open_window: Callable[..., Any], shop_system: Shop) -> None:
    """Of each page, for the docs: only where AIOTQ_PICTURES names a folder. To be run alone (-k pictures)."""
    folder = os.environ.get("AIOTQ_PICTURES")
    if not folder:
        pytest.skip("AIOTQ_PICTURES names no folder")
    Path(folder).mkdir(parents=True, exist_ok=True)
    await _an_hour_before(shop_system.url)
    visit = await open_window(height=800)
    wanted = paths(shop_system, "")
    await visit.go("/jobs?status=failed&queue=payments")
    wanted["failed"] = f"/jobs/{await visit.page.locator('tbody th a').first.get_attribute('title')}"
    for name, path in wanted.items():
        await visit.page.set_viewport_size({"width": 1280, "height": 1_250 if name == "overview" else 800})
        await _picture(visit, path, Path(folder) / f"{name}.png")
    await _picture(await open_window(height=1_250, dark=True), "/", Path(folder) / "overview-dark.png")
    await _picture(await open_window(width=390, height=844), "/", Path(folder) / "overview-phone.png")


async def _an_hour_before(url: str) -> None:
    """Counters of minutes in which the shop was open, as its workers would have written them."""
    draw = random.Random(17)
    async with Redis.from_url(url) as raw:
        now = int((await raw.time())[0]) // 60
        for minute in range(now - 59, now - 2):
            busy = 4_000 + 1_800 * math.sin(minute / 7) + draw.randrange(900)
            done, failed = int(busy), draw.randrange(40) if minute % 9 else 90
            fields = {
                "e:default": done + draw.randrange(9),
                "started": done,
                "succeeded": done - failed,
                "failed": failed,
            }
            fields |= {"retried": draw.randrange(60), "w1": done // 2, "w2": done // 3, "w4": done // 8}
            fields |= {"r4": done // 2, "r5": done // 3, f"r{6 + draw.randrange(3)}": done // 8}
            await raw.hset(f"{{shop}}:stats:m:{minute}", mapping={**fields})
            await raw.expire(f"{{shop}}:stats:m:{minute}", 10_000)


async def _picture(visit: Visit, path: str, file: Path) -> None:
    await visit.go(path)
    await settled(visit)
    await visit.page.evaluate(
        RENAMED,
        [socket.gethostname(), f"{Path(__file__).parents[2]}/"],
    )
    await visit.page.screenshot(path=str(file), full_page=False)
