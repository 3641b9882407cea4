"""The dashboard as a person has it: in a browser, against a real worker and ten thousand real jobs."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.browser import shop
from tests.browser.conftest import dashboard
from tests.browser.pages import WITHIN_MS, paths, settled
from tests.faults.proxy import FaultProxy

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.browser.conftest import Shop, Visit

pytestmark = pytest.mark.asyncio(loop_scope="session")
LEAST_CONTRAST = 4.5

# Of each text that can be seen: its contrast with what lies behind it, as WCAG 2 reckons it.
CONTRAST = """() => {
  const parse = (text) => { const n = text.match(/[\\d.]+/g).map(Number); return [n[0], n[1], n[2], n[3] ?? 1]; };
  const part = (v) => (v / 255 <= 0.03928 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4);
  const light = ([r, g, b]) => 0.2126 * part(r) + 0.7152 * part(g) + 0.0722 * part(b);
  const over = (top, below) => top.slice(0, 3).map((v, i) => v * top[3] + below[i] * (1 - top[3])).concat(1);
  const ground = (element) => {
    const layers = [];
    for (let at = element; at; at = at.parentElement) layers.push(parse(getComputedStyle(at).backgroundColor));
    return layers.reverse().reduce((below, layer) => over(layer, below), [255, 255, 255, 1]);
  };
  const poor = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement, text = walker.currentNode.textContent.trim();
    if (!text || !element.checkVisibility({ opacityProperty: true, visibilityProperty: true })) continue;
    if (element.matches("option, button:disabled") || element.closest(".hidden, .skip")) continue;
    const below = ground(element), above = over(parse(getComputedStyle(element).color), below);
    const [one, two] = [light(above), light(below)].sort((a, b) => b - a);
    const ratio = (one + 0.05) / (two + 0.05);
    if (ratio < LEAST) poor.push(`${ratio.toFixed(2)} ${element.tagName}.${element.className}: ${text.slice(0, 40)}`);
  }
  return poor;
}""".replace("LEAST", str(LEAST_CONTRAST))

OUTLINE = """() => {
  const style = getComputedStyle(document.activeElement);
  return style.outlineStyle + parseInt(style.outlineWidth);
}"""

# What can be used, and would not be reached by the Tab key.
UNREACHABLE = """() => [...document.querySelectorAll("a, button, input, select, summary, [onclick], [role=button]")]
  .filter((each) => each.type !== "hidden" && each.checkVisibility() && (each.tabIndex < 0 || each.disabled))
  .map((each) => each.outerHTML.slice(0, 80))"""


async def a_failed_job(visit: Visit) -> str:
    """The id of a job whose every word is evil."""
    await visit.go("/jobs?status=failed&queue=imports&error=script")
    link = await visit.page.locator("tbody th a").first.get_attribute("title")
    assert link is not None
    return str(link)


async def test_every_page_is_calm_and_readable_on_a_phone_and_a_desk_light_and_dark_and_used_by_key(
    open_window: Callable[..., Any], shop_system: Shop
) -> None:
    visit = await open_window(width=390, height=844)
    for name, path in paths(shop_system, await a_failed_job(visit)).items():
        await visit.go(path)
        await settled(visit)
        width = await visit.page.evaluate("document.documentElement.scrollWidth")
        assert width <= 390, f"{name} is {width} px wide, and a phone 390"
        for device, size in (("phone", (390, 844)), ("desk", (1280, 900))):
            await visit.page.set_viewport_size({"width": size[0], "height": size[1]})
            assert await visit.page.evaluate(UNREACHABLE) == [], f"{name}, {device}"
            for scheme in ("light", "dark"):
                await visit.page.emulate_media(color_scheme=scheme)
                assert await visit.page.evaluate(CONTRAST) == [], f"{name}, {device}, {scheme}: too little contrast"
                grounds = await visit.page.evaluate("getComputedStyle(document.body).backgroundColor")
                assert (sum(int(part) for part in grounds[4:-1].split(",")) < 200) is (scheme == "dark")
        assert await visit.page.locator("h1").count() == 1
        assert await visit.page.locator("main img, main script").count() == 0, name
        if name != "message":
            visit.expect_calm()
        await visit.page.set_viewport_size({"width": 390, "height": 844})


async def test_the_first_key_leads_past_the_navigation(open_window: Callable[..., Any]) -> None:
    visit = await open_window()
    await visit.go("/jobs")
    await visit.page.keyboard.press("Tab")
    assert await visit.page.evaluate("document.activeElement.textContent") == "Skip to the page"
    box = await visit.page.locator(".skip").bounding_box()
    assert box is not None
    assert box["y"] >= 0  # it is seen while it has the focus
    await visit.page.keyboard.press("Enter")
    assert await visit.page.evaluate("document.activeElement.id") == "main"


async def test_the_focus_can_be_seen(open_window: Callable[..., Any]) -> None:
    visit = await open_window()
    await visit.go("/jobs?limit=25")
    for _ in range(25):
        await visit.page.keyboard.press("Tab")
        outline = await visit.page.evaluate(OUTLINE)
        assert outline.startswith("solid")
        assert int(outline.removeprefix("solid")) >= 2


async def test_what_a_job_says_runs_nowhere(open_window: Callable[..., Any]) -> None:
    visit = await open_window()
    failed = await a_failed_job(visit)
    for path in ("/jobs?queue=imports", "/dead?queue=imports", f"/jobs/{failed}"):  # of the others: as they are drawn
        await visit.go(path)
        await settled(visit)
        assert await visit.page.locator("main img, main script").count() == 0
    assert "alert('job')" in await visit.page.inner_text("body")
    visit.expect_calm()


async def test_a_dead_letter_is_retried_by_key(open_window: Callable[..., Any]) -> None:
    visit = await open_window()
    await visit.go("/dead?queue=payments&limit=25")
    first = visit.page.locator('input[name="job"]').first
    job_id = await first.get_attribute("value")
    await first.focus()
    await visit.page.keyboard.press("Space")
    assert await visit.page.inner_text("#ticked") == "1 ticked"
    await visit.page.locator('button[value="retry"]').focus()
    await visit.page.keyboard.press("Enter")
    await visit.page.wait_for_url("**/dead?*", timeout=WITHIN_MS)
    assert "was retried" in await visit.page.inner_text("#flash")
    await visit.go(f"/jobs/{job_id}")
    await visit.page.locator(".badge.is-failed").first.wait_for(timeout=WITHIN_MS)  # it fails once more
    await visit.go("/audit")
    assert job_id in await visit.page.inner_text("main")
    visit.expect_calm()


async def test_many_are_asked_about_first(open_window: Callable[..., Any]) -> None:
    visit = await open_window()
    await visit.go("/dead?queue=payments&limit=25")
    await visit.page.locator("#tick-all").check()
    assert await visit.page.inner_text("#ticked") == "25 ticked"
    await visit.page.locator('button[value="discard"]').click()
    assert await visit.page.inner_text("h1") == "Discard 25 jobs?"
    await visit.page.get_by_role("link", name="No, go back").click()
    await visit.page.wait_for_url("**/dead?queue=payments*")
    await visit.page.locator('select[name="scope"]').select_option("all")
    await visit.page.locator('button[value="retry"]').click()
    assert "jobs?" in await visit.page.inner_text("h1")
    visit.expect_calm()


async def test_a_filter_changes_the_url_and_the_list_and_back_leads_back(open_window: Callable[..., Any]) -> None:
    visit = await open_window()
    await visit.go("/jobs?status=failed&limit=25")
    await visit.page.get_by_label("queue", exact=True).fill("payments")
    await visit.page.keyboard.press("Enter")
    await visit.page.wait_for_url("**queue=payments*", timeout=WITHIN_MS)
    await visit.page.locator('#list td[data-label="queue"] >> text=payments').first.wait_for(timeout=WITHIN_MS)
    queues = await visit.page.locator('#list td[data-label="queue"]').all_inner_texts()
    assert {queue.split()[0] for queue in queues} == {"payments"}
    for name in ("all", "scheduled", "failed"):  # another state is one of the same filter
        tab = visit.page.get_by_role("link", name=name, exact=True)
        assert "queue=payments" in str(await tab.get_attribute("href"))
    await visit.page.get_by_role("link", name="Older").click()
    await visit.page.wait_for_url("**cursor=*", timeout=WITHIN_MS)
    await visit.page.go_back()
    await visit.page.get_by_label("error").fill("x" * 150)
    await visit.page.get_by_label("since").fill("yesterday")
    await visit.page.get_by_label("since").press("Enter")
    await visit.page.locator("text=is no time").wait_for(timeout=WITHIN_MS)


async def test_the_slash_key_finds_a_job_by_the_end_of_its_id(
    open_window: Callable[..., Any], shop_system: Shop
) -> None:
    visit = await open_window()
    await visit.go("/")
    await visit.page.keyboard.press("/")
    await visit.page.keyboard.type(shop_system.running[0][-6:])
    await visit.page.keyboard.press("Enter")
    await visit.page.wait_for_url(f"**/jobs/{shop_system.running[0]}", timeout=WITHIN_MS)
    assert "7 of 12: adding up July" in await visit.page.inner_text("#live-progress")
    assert "month 3 of 2024 is done" in await visit.page.inner_text("#live-logs")
    visit.expect_calm()


async def test_a_page_changes_while_one_looks(open_window: Callable[..., Any], shop_system: Shop) -> None:
    visit = await open_window()
    await visit.go("/queues")
    row = visit.page.locator("tr", has_text="reminders")
    await row.locator("text=open").wait_for(timeout=WITHIN_MS)
    shop.app._core.override = shop_system.url
    async with shop.app:
        await shop.app.inspect.pause("reminders")
        await row.locator("text=paused").wait_for(timeout=WITHIN_MS)
        await shop.app.inspect.resume("reminders")
        await row.locator("text=open").wait_for(timeout=WITHIN_MS)
    visit.expect_calm()


async def test_a_live_part_keeps_the_focus(open_window: Callable[..., Any]) -> None:
    visit = await open_window()
    await visit.go("/queues")
    await settled(visit)
    link = visit.page.locator("#live-queues a", has_text="newsletter")
    await link.focus()
    await visit.page.evaluate("document.getElementById('live-queues').querySelector('tbody').dataset.old = '1'")
    await visit.page.locator("#live-queues tbody:not([data-old])").wait_for(timeout=WITHIN_MS)
    assert await visit.page.evaluate("document.activeElement.textContent") == "newsletter"


async def test_the_charts_are_drawn_and_are_tables_too(open_window: Callable[..., Any]) -> None:
    visit = await open_window()
    await visit.go("/")
    assert await visit.page.locator(".chart canvas").count() == 3
    await visit.page.locator(".chart summary").first.focus()
    await visit.page.keyboard.press("Enter")
    await visit.page.locator(".chart table").first.wait_for()
    text = await visit.page.inner_text(".chart .rows")
    assert text.split()[0] == "UTC"
    assert "UTC" in await visit.page.inner_text(".chart figcaption")
    visit.expect_calm()


async def test_a_time_has_the_readers_own_in_its_title(open_window: Callable[..., Any]) -> None:
    visit = await open_window(timezone_id="Asia/Kathmandu", locale="en-GB")
    await visit.go("/dead?limit=25")
    time = visit.page.locator("tbody time").first
    utc, title = await time.get_attribute("datetime"), await time.get_attribute("title")
    assert "UTC" in title
    minute = (int(utc[14:16]) + 45) % 60
    assert f":{minute:02d}:" in title.split("\n")[1]


async def test_a_job_with_large_arguments_has_a_light_page(open_window: Callable[..., Any]) -> None:
    visit = await open_window()
    await visit.go("/jobs?task=send_sold_email&status=succeeded&limit=25")
    sizes: list[int] = []
    for row in (await visit.page.locator("tbody th a").all())[:1]:
        await visit.go("/jobs/" + str(await row.get_attribute("title")))
        sizes.append(len(await visit.page.content()))
    assert max(sizes) < 200_000


async def test_a_server_that_goes_away_is_a_banner_and_goes_by_itself(
    open_window: Callable[..., Any], shop_system: Shop, server_folder: Path
) -> None:
    port = int(shop_system.url.rpartition(":")[2])
    async with FaultProxy(("localhost", port), server_folder / "p") as proxy:
        with dashboard(proxy.url) as address:
            visit = await open_window(at=address)
            await visit.go("/queues")
            await settled(visit)
            proxy.upstream = ("localhost", _closed_port())
            proxy.cut_all()
            await visit.page.locator("#away").wait_for(state="visible", timeout=WITHIN_MS)
            await visit.go("/failures")
            await visit.page.locator("text=This page loads by itself").wait_for(timeout=WITHIN_MS)
            proxy.upstream = ("localhost", port)
            await visit.page.locator("h1", has_text="Failures").wait_for(timeout=WITHIN_MS)
            await visit.page.locator("#away").wait_for(state="hidden", timeout=WITHIN_MS)


async def test_a_page_that_nobody_sees_holds_no_stream_and_catches_up_when_it_is_seen(
    open_window: Callable[..., Any],
) -> None:
    seen = """(hidden) => {
      Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
      document.dispatchEvent(new Event("visibilitychange"));
    }"""
    visit = await open_window()
    async with visit.page.expect_response("**/events?*", timeout=WITHIN_MS):
        await visit.go("/")
    await settled(visit)
    over: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    for event in ("requestfinished", "requestfailed"):
        visit.page.on(event, lambda request: over.done() or over.set_result(request.url))
    await visit.page.evaluate(seen, arg=True)
    async with asyncio.timeout(2):  # by itself a stream ends after 20 s
        assert "/events?" in await over
    await visit.page.evaluate('document.getElementById("live-pulse").replaceChildren()')
    asked = len(visit.asked)
    await visit.page.evaluate(seen, arg=False)
    await settled(visit)
    assert ["/events?" in address for address in visit.asked[asked:]] == [True]
    visit.expect_calm()


async def test_a_token_is_typed_in_once(open_window: Callable[..., Any], shop_system: Shop) -> None:
    token = "a-token-that-nobody-guesses"
    with dashboard(shop_system.url, "--token", token, "--read-only") as address:
        visit = await open_window(at=address)
        await visit.go("/jobs?status=failed")
        assert await visit.page.evaluate(CONTRAST) == []
        await visit.page.get_by_label("Token").fill(token)
        await visit.page.keyboard.press("Enter")
        await visit.page.wait_for_url("**/jobs?status=failed", timeout=WITHIN_MS)
        assert await visit.page.locator('[name="verb"]').count() == 0
        await visit.page.route("**/events?*", lambda route: route.fulfill(status=401))  # as of a session that has ended
        await visit.go("/workers")
        banner = visit.page.locator("#stranger")
        await banner.wait_for(timeout=WITHIN_MS)
        assert await banner.get_by_role("link", name="Log in again").get_attribute("href") == f"{address}/workers"
        assert not await visit.page.locator("#away").is_visible()
        assert await visit.page.evaluate(CONTRAST) == []
        await visit.page.unroute("**/events?*")  # as if he had, in another window
        await banner.wait_for(state="hidden", timeout=WITHIN_MS)
        await visit.page.goto(f"{address}/login?next=/workers")  # as from a link elsewhere, which brought no cookie
        await visit.page.wait_for_url("**/workers", timeout=WITHIN_MS)
        assert not [text for text in visit.said if "401" not in text]


def _closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
