"""The dashboard on a real server, over the real inspector."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio
from redis.asyncio import Redis

from aiotq import App, current_job
from aiotq.errors import JobFailed, PayloadTooLarge
from aiotq.inspection import JobFilter, bulk
from aiotq.web import aiotq_dashboard
from tests import servers
from tests.process.ledger import until
from tests.web.sample import EVIL
from tests.web.test_pages import Elements
from tests.web.visitor import post, visitor

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import httpx

    from tests.servers import Server

PAGES = ("/", "/queues", "/queues/evil", "/jobs", "/dead", "/failures", "/workers", "/tasks", "/server", "/audit")
MIB = 1 << 20
QUICK_S = 1.0  # far more than it takes, far less than to encode and draw a MiB of arguments


@pytest_asyncio.fixture
async def client(app: App) -> AsyncIterator[httpx.AsyncClient]:
    """Somebody who looks at the app's dashboard."""
    async with visitor(aiotq_dashboard(app)) as made:
        yield made


async def test_whatever_stands_in_a_job_is_text_on_every_page(app: App, client: httpx.AsyncClient) -> None:
    @app.task(name="evil:task", queue="evil", retries=0)
    async def evil(text: str, **more: str) -> str:
        job: Any = current_job()
        job.log(text, level=text)
        await job.progress(1, of=2, note=text)
        if more["fails"]:
            raise type(text, (Exception,), {"__module__": text})(text)
        return text

    label = "<script>alert(1)</script>"
    async with app.worker(["evil"], name=label):
        good = await evil.options(job_id="evil-1").delay(EVIL, fails="")
        bad = await evil.options(job_id="evil-2").delay(EVIL, fails=EVIL)
        assert await good.result(timeout=10) == EVIL
        with pytest.raises(Exception, match="script"):
            await bad.result(timeout=10)
        for path in (*PAGES, "/jobs/evil-1", "/jobs/evil-2"):
            shown = await client.get(path)
            assert shown.status_code == 200, path
            elements = Elements(shown.text)
            assert not [tag for tag, _ in elements.found if tag == "img"]
            assert not [tag for tag, with_ in elements.found if tag == "script" and not with_.get("src")]
        assert "alert(1)" in "".join(Elements((await client.get("/jobs/evil-2")).text).text)
    await app.inspect.discard("evil-2")


async def test_arguments_are_redacted_and_masked(app: App) -> None:
    @app.task(queue="later", sensitive={"card"})
    async def charge(order: str, card: str) -> None: ...

    await charge.options(job_id="j1", countdown=3600).delay("o-1", card="4111")
    hooked = aiotq_dashboard(app, redact=lambda _task, given: {**given, "args": ["(an order)"]})
    async with visitor(hooked) as client:
        shown = (await client.get("/jobs/j1")).text
    assert "(an order)" in shown
    assert "o-1" not in shown
    assert "4111" not in shown
    await app.job("j1").cancel()


async def test_a_mebibyte_of_arguments_slows_no_page(app: App, client: httpx.AsyncClient) -> None:
    @app.task(queue="later")
    async def big(text: str) -> None: ...

    most = ("<b>" * MIB)[: MIB - len('[""]{}')]  # of a default app
    with pytest.raises(PayloadTooLarge):
        await big.delay(most + "<")
    await big.options(job_id="j1", countdown=3600).delay(most)
    await client.get("/jobs/j1")  # the first one connects
    for path in ("/jobs/j1", "/jobs", "/jobs?status=scheduled"):
        took_s: list[float] = []
        for _ in range(3):  # on a machine that has much else to do, one of them may wait for its turn
            began = time.perf_counter()
            shown = await client.get(path)
            took_s.append(time.perf_counter() - began)
            assert shown.status_code == 200
            assert len(shown.content) < 300_000
        assert min(took_s) < QUICK_S
    await app.job("j1").cancel()


async def test_a_record_of_a_newer_version_is_shown_raw(app: App, valkey: Server, client: httpx.AsyncClient) -> None:
    async with Redis.from_url(valkey.url) as raw:
        key = f"{{{app.namespace}}}:job:j1"
        await raw.set(key, b'9wAbcd1795439224123{"new": "<script>"}', px=60_000)
        shown = await client.get("/jobs/j1")
        await raw.delete(key)
    assert shown.status_code == 200
    assert "a newer aiotq wrote it" in shown.text
    assert "{&#34;new&#34;: &#34;&lt;script&gt;&#34;}" in shown.text


async def test_acts_are_done_and_signed(app: App, client: httpx.AsyncClient) -> None:
    @app.task(queue="later")
    async def later(number: int) -> None: ...

    jobs = [await later.options(countdown=3600, job_id=f"j{number}").delay(number) for number in range(3)]
    page = "/jobs?status=scheduled"
    assert (await post(client, "/act", {"verb": "promote", "job": "j0"}, page=page)).status_code == 303
    assert (await jobs[0].status()) == "queued"
    order = {"verb": "cancel", "scope": "all", "status": "scheduled", "queue": "later"}
    asked = await post(client, "/act", order, page=page)
    assert "Cancel 2 jobs?" in asked.text
    assert (await post(client, "/act", {**order, "confirmed": "yes"}, page=page)).status_code == 303
    assert {str(await job.status()) for job in jobs[1:]} == {"cancelled"}
    assert (await post(client, "/act", {"verb": "pause", "queue": "later"}, page=page)).status_code == 303
    assert "‖ paused" in (await client.get("/queues/later")).text
    purge = {"verb": "purge", "queue": "later", "confirmed": "yes"}
    assert (await post(client, "/act", purge, page=page)).status_code == 303
    assert "was purged: 1 job was cancelled" in (await client.get("/queues")).text
    await post(client, "/act", {"verb": "resume", "queue": "later"}, page=page)
    audit = (await client.get("/audit")).text
    for word in ("promote", "cancel", "pause", "purge", "resume", "127.0.0.1 (dashboard)"):
        assert word in audit


@pytest.mark.parametrize("verb", ["retry", "cancel", "discard"])
async def test_an_act_on_all_is_on_the_jobs_that_it_is_for_and_as_many_are_asked_about(
    app: App, client: httpx.AsyncClient, verb: str
) -> None:
    @app.task(retries=0)
    async def works(*, fails: bool) -> None:
        if fails:
            raise ValueError("no Bobs")

    async with app.worker(["default"]):
        good = await works.options(job_id="good").delay(fails=False)
        bad = await works.options(job_id="bad").delay(fails=True)
        await good.result(timeout=10)
        with pytest.raises(JobFailed):
            await bad.result(timeout=10)
    await works.options(job_id="later", countdown=3600).delay(fails=False)

    order = {"verb": verb, "scope": "all"}
    assert f"{verb.capitalize()} 1 job?" in (await post(client, "/act", order)).text
    await post(client, "/act", {**order, "confirmed": "yes"})

    states = {job.id: str(job.status) for job in (await app.inspect.jobs()).items}
    before = {"good": "succeeded", "bad": "failed", "later": "scheduled"}
    changed = {"retry": {"bad": "queued"}, "cancel": {"later": "cancelled"}, "discard": {}}[verb]
    assert states == {name: state for name, state in before.items() if (verb, name) != ("discard", "bad")} | changed
    await app.inspect.cancel_all(JobFilter())


@pytest.mark.parametrize("ends", ["page closed", "process stopped"])
async def test_an_act_on_many_outlives_its_page_and_is_in_the_audit_however_it_ends(
    app: App, monkeypatch: pytest.MonkeyPatch, ends: str
) -> None:
    @app.task(queue="later")
    async def later(number: int) -> None: ...

    jobs = await app.enqueue_many([later.options(countdown=3600).s(number) for number in range(60)])
    dashboard, together = aiotq_dashboard(app), bulk._together
    reached, goes_on = asyncio.Event(), asyncio.Event()

    async def waits(*given: Any) -> Any:
        came = await together(*given)
        reached.set()
        await goes_on.wait()
        return came

    monkeypatch.setattr(bulk, "_together", waits)
    order = {"verb": "cancel", "scope": "all", "status": "scheduled", "confirmed": "yes"}
    async with visitor(dashboard) as client:
        posting = asyncio.ensure_future(post(client, "/act", order))
        await reached.wait()
        posting.cancel()  # as a server or a middleware may do with the request of somebody who has gone
        with pytest.raises(asyncio.CancelledError):
            await posting
        if ends == "process stopped":
            await dashboard.running.end()
        goes_on.set()

        async def kept() -> bool:
            return any(entry.came_to != "begun" for entry in (await app.inspect.audit()).items)

        await until(kept, "its end is in the audit")
    [entry] = (await app.inspect.audit()).items
    done = [job for job in jobs if await job.status() == "cancelled"]
    if ends == "page closed":
        assert (entry.came_to, len(done)) == ("60 jobs", 60)
    else:
        assert (entry.came_to, len(done)) == ("stopped after 0 jobs, or up to 25 more", 25)
    assert (entry.by, entry.action) == ("127.0.0.1 (dashboard)", "cancel all")
    monkeypatch.undo()
    await app.inspect.cancel_all(JobFilter())


async def test_acts_on_what_has_moved_on_say_so(app: App, client: httpx.AsyncClient) -> None:
    @app.task(queue="later")
    async def later() -> None: ...

    await later.options(countdown=3600, job_id="j1").delay()
    gone = await post(client, "/act", {"verb": "retry", "job": "never-was"})
    assert gone.status_code == 404
    await post(client, "/act", {"verb": "retry", "job": "j1"})
    assert "Job j1 was not retried" in (await client.get("/jobs")).text
    many = [("verb", "cancel"), ("confirmed", "yes"), ("job", "j1"), ("job", "never-was")]
    await post(client, "/act", many)
    assert "1 job was cancelled; 1 had moved on" in (await client.get("/jobs")).text


async def test_cursors_of_strangers_are_refused(client: httpx.AsyncClient) -> None:
    for page in ("jobs", "dead", "audit"):
        for cursor in ("x", "-1", "99999999999999999999999", "eyJhIjoxfQ", "AAAA", "%F0%9F%98%80", "0:0:0", "%7B%7D"):
            shown = await client.get(f"/{page}?cursor={cursor}")
            assert shown.status_code in (200, 400), (page, cursor, shown.text[-500:])


async def test_every_page_of_a_list_can_be_walked_to(app: App, client: httpx.AsyncClient) -> None:
    @app.task(queue="later")
    async def later(number: int) -> None: ...

    jobs = await app.enqueue_many([later.options(countdown=3600 + number).s(number) for number in range(60)])
    seen: set[str] = set()
    path = "/jobs?status=scheduled&limit=25"
    for _ in range(10):
        shown = Elements((await client.get(path)).text)
        seen |= {str(with_["value"]) for tag, with_ in shown.found if tag == "input" and with_.get("name") == "job"}
        further = [str(with_["href"]) for tag, with_ in shown.found if tag == "a" and with_.get("rel") == "next"]
        if not further:
            break
        path = further[0]
    assert seen == {job.id for job in jobs}
    for job in jobs:
        await job.cancel()


async def test_ids_with_colons_have_pages(app: App, client: httpx.AsyncClient) -> None:
    @app.task(queue="later")
    async def later() -> None: ...

    await later.options(countdown=3600, job_id="order:17:a.b").delay()
    links = Elements((await client.get("/jobs?status=scheduled")).text).found
    (link,) = [str(with_["href"]) for tag, with_ in links if tag == "a" and with_.get("title") == "order:17:a.b"]
    assert (await client.get(link)).status_code == 200
    found = await client.get("/find?q=order:17:a.b")
    assert (await client.get(found.headers["location"])).status_code == 200
    await app.job("order:17:a.b").cancel()


async def test_a_user_who_may_only_look_can_do_nothing(app: App, namespace: str) -> None:
    folder = Path(tempfile.mkdtemp(prefix="aiotq-"))
    with servers.running("acl", folder) as server:
        url = server.url.replace("aiotq_worker:", "aiotq_reader:")
        async with App(url, namespace=namespace) as reader, visitor(aiotq_dashboard(reader)) as client:
            for path in PAGES:
                if path != "/queues/evil":
                    assert (await client.get(path)).status_code == 200, path
            async with App(server.url, namespace=namespace) as sender:
                await sender.task(queue="mail", name="waits")(lambda: None).delay()
            acted = await post(client, "/act", {"verb": "pause", "queue": "mail"})
            assert acted.status_code == 503
            assert "aiotq_" in acted.text or "NOPERM" in acted.text or "may not" in acted.text
            assert "data-reload-when-back" not in acted.text
    shutil.rmtree(folder)


async def test_a_running_job_is_live(app: App, client: httpx.AsyncClient) -> None:
    over = asyncio.Event()

    @app.task(queue="now")
    async def works() -> None:
        await over.wait()

    async with app.worker(["now"]):
        job = await works.delay()

        async def runs() -> bool:
            return (await job.status()) == "running"

        await until(runs, "it runs")
        shown = await client.get(f"/jobs/{job.id}")
        assert "is-running" in shown.text
        assert "status=running" in shown.text  # of its events
        over.set()
        await job.result(timeout=10)
