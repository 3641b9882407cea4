"""What the pages show, from values made by hand."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import AsyncMock

import pytest

from aiotq import web
from aiotq.inspection.values import JobFilter
from aiotq.job import JobStatus
from aiotq.web import aiotq_dashboard
from tests.web import sample
from tests.web.visitor import visitor

if TYPE_CHECKING:
    import httpx

PAGES = (
    "/",
    "/queues",
    "/queues/mail",
    "/jobs",
    f"/jobs/{sample.JOB}",
    "/dead",
    "/find?q=two",
    "/failures",
    "/failures?hours=24",
    "/workers",
    "/tasks?hours=168",
    "/server",
    "/audit",
)
UNSAFE = re.compile(r"\.(?:inner|outer)HTML|insertAdjacent|document\.write|\beval\(|new Function|\son\w+=|\| *safe\b")


class Elements(HTMLParser):
    """What a browser makes of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text.append(data)


@pytest.mark.parametrize("path", PAGES)
async def test_each_page_is_there_and_whole(client: httpx.AsyncClient, path: str) -> None:
    shown = await client.get(path)
    assert shown.status_code == 200
    tags = [tag for tag, _ in Elements(shown.text).found]
    assert tags.count("h1") == 1
    assert tags.count("main") == 1
    assert shown.text.rstrip().endswith("</html>")


@pytest.mark.parametrize("path", PAGES)
@pytest.mark.parametrize("base", ["", "/shop/jobs"])
async def test_all_that_a_page_names_lies_in_the_dashboard(dashboard: Any, path: str, base: str) -> None:
    async with visitor(_mounted(dashboard, base) if base else dashboard) as client:
        shown = await client.get(base + path)
    for tag, attributes in Elements(shown.text).found:
        for name in ("href", "src", "action", "hx-get", "data-events"):
            address = attributes.get(name)
            if address and not address.startswith("#"):
                assert address.startswith(f"{base}/"), f"<{tag} {name}={address}>"
                assert not address.startswith("//")


@pytest.mark.parametrize("path", ["/jobs", "/dead"])
async def test_a_filter_replaces_each_link_that_depends_on_it(client: httpx.AsyncClient, path: str) -> None:
    before = await client.get(path)
    [form] = [with_ for _, with_ in Elements(before.text).found if with_.get("hx-get")]
    replaced = f"{form['hx-target']},{form.get('hx-select-oob') or ''}"
    filtered = await client.get(f"{path}?queue=mail&task=send&since=2h&limit=25")
    assert _links_but_in(replaced, filtered.text) == _links_but_in(replaced, before.text)


def _links_but_in(ids: str, text: str) -> list[dict[str, str | None]]:
    """The links of a page, but those within elements of these ids."""
    for name in ids.split(","):
        text = re.sub(rf'<(\w+)[^>]* id="{name.strip()[1:]}".*?</\1>', "", text, flags=re.DOTALL) if name else text
    return [with_ for tag, with_ in Elements(text).found if tag == "a"]


@pytest.mark.parametrize("path", PAGES)
async def test_no_page_has_a_script_or_a_style_in_it(client: httpx.AsyncClient, path: str) -> None:
    for tag, attributes in Elements((await client.get(path)).text).found:
        assert tag != "style"
        assert "style" not in attributes
        assert not [name for name in attributes if name.startswith("on")]
        assert tag != "script" or attributes.get("src")


@pytest.mark.parametrize("path", [*PAGES, "/jobs?status=failed", "/dead?error=x"])
@pytest.mark.parametrize("status", list(JobStatus))
async def test_what_a_job_says_is_text_and_never_a_tag(path: str, status: JobStatus) -> None:
    evil = sample.Inspector(text=sample.EVIL, status=status, cursor=sample.EVIL)
    async with visitor(aiotq_dashboard(sample.app(evil, namespace=sample.EVIL))) as client:
        shown = await client.get(path)
    if path == "/queues/mail":
        assert shown.status_code == 404  # there is only the evil one
        return
    assert shown.status_code == 200
    for tag, attributes in Elements(shown.text).found:
        assert tag != "script" or str(attributes.get("src")).startswith("/static/")
        assert tag != "img"
        assert "onerror" not in attributes
    assert "49" not in shown.text.replace(sample.JOB, "") or "{{ 7*7 }}" in shown.text
    assert "alert(1)" in "".join(Elements(shown.text).text)


async def test_a_record_that_cannot_be_read_is_shown_raw(client: httpx.AsyncClient, inspector: Any) -> None:
    known = sample.detail()
    inspector.job_detail = replace(
        known, info=None, raw=b'\xff9{"v": 9, "<b>": 1}', frames=(), result=None, arguments="", progress=None
    )
    shown = await client.get("/jobs/x")
    assert shown.status_code == 200
    assert "a newer aiotq wrote it" in shown.text
    assert "\\xff9{&#34;v&#34;: 9, &#34;&lt;b&gt;&#34;: 1}" in shown.text


@pytest.mark.parametrize(
    ("status", "placed", "offered"),
    [
        (JobStatus.QUEUED, True, {"discard"}),
        (JobStatus.SCHEDULED, True, {"discard"}),
        (JobStatus.FAILED, True, {"discard"}),
        (JobStatus.RUNNING, True, set()),
        (JobStatus.QUEUED, False, set()),
        (JobStatus.QUEUED, None, set()),
    ],
)
async def test_the_page_of_a_record_that_cannot_be_read_offers_what_works(
    client: httpx.AsyncClient, inspector: Any, *, status: JobStatus, placed: bool | None, offered: set[str]
) -> None:
    known = sample.detail()
    seen = replace(known.summary, status=status, readable=False, placed=placed)
    where = "the lines of <3> queues" if placed is None else None
    inspector.job_detail = replace(
        known, summary=seen, info=None, raw=b"9w", frames=(), result=None, progress=None, searched=where
    )
    shown = Elements((await client.get("/jobs/x")).text)
    verbs = {given.get("value") for tag, given in shown.found if tag == "input" and given.get("name") == "verb"}
    assert verbs == offered
    said = "".join(shown.text)
    assert ("in no queue" in said, "no worker will take it" in said) == ((placed is False,) * 2)
    assert ("no ticket of it was found in the lines of <3> queues" in said) is (placed is None)


async def test_the_command_on_a_jobs_page_takes_its_id_for_no_option(client: httpx.AsyncClient, inspector: Any) -> None:
    known = sample.detail()
    inspector.job_detail = replace(known, summary=replace(known.summary, id="--help"), arguments_cut=True)
    assert "<code>aiotq job --json -- --help</code>" in (await client.get("/jobs/x")).text


async def test_a_job_with_nothing_but_its_name_has_a_page(client: httpx.AsyncClient, inspector: Any) -> None:
    bare = sample.summary(
        status=JobStatus.QUEUED,
        enqueued_at=None,
        due_at=None,
        started_at=None,
        finished_at=None,
        worker=None,
        error=None,
    )
    inspector.job_detail = replace(
        sample.detail(),
        summary=bare,
        info=None,
        timeline=(),
        logs=(),
        progress=None,
        frames=(),
        result=None,
        expires_s=None,
    )
    shown = await client.get("/jobs/x")
    assert shown.status_code == 200


async def test_a_list_says_of_no_job_that_it_took_0_attempts(client: httpx.AsyncClient, inspector: Any) -> None:
    page = await inspector.jobs()
    large = replace(page.items[0], status=JobStatus.SUCCEEDED, attempt=0)  # too large to be read for a list
    inspector.jobs = AsyncMock(return_value=replace(page, items=(large, replace(large, attempt=3))))
    shown = (await client.get("/jobs")).text
    assert re.findall(r'data-label="attempt">(.*?)</td>', shown) == ["–", "3"]


async def test_filters_stand_in_the_url(client: httpx.AsyncClient, inspector: Any) -> None:
    query = "status=failed&queue=mail&task=send&error=ValueError&since=2026-11-27T15:04&limit=25&cursor=abc"
    shown = await client.get(f"/jobs?{query}")
    wanted = JobFilter(
        status=JobStatus.FAILED,
        queue="mail",
        task="send",
        error="ValueError",
        since=sample.NOW.replace(second=0, microsecond=0),
    )
    assert ("jobs", wanted, "abc", 25) in inspector.asked
    assert 'value="ValueError"' in shown.text
    assert "cursor=next-1" in shown.text  # the next page


async def test_the_end_of_an_id_leads_to_the_job(client: httpx.AsyncClient) -> None:
    found = await client.get("/find?q=a1f9c2")
    assert (found.status_code, found.headers["location"]) == (303, f"/jobs/{sample.JOB}")
    many = await client.get("/find?q=two")
    assert "2 jobs have an id like two" in many.text
    none = await client.get("/find?q=nobody")
    assert none.status_code == 404


async def test_a_job_is_found_by_the_end_of_its_id_in_the_path_too(client: httpx.AsyncClient) -> None:
    found = await client.get("/jobs/a1f9c2")
    assert (found.status_code, found.headers["location"]) == (303, f"/jobs/{sample.JOB}")
    assert "2 jobs have an id like two" in (await client.get("/jobs/two")).text
    assert (await client.get("/jobs/none")).status_code == 404


async def test_an_id_that_is_in_a_list_still_and_whose_job_has_gone_leads_nowhere(
    client: httpx.AsyncClient, inspector: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def find(text: str) -> tuple[str, ...]:
        return (text,)

    monkeypatch.setattr(inspector, "find", find)
    assert (await client.get("/jobs/none")).status_code == 404


@pytest.mark.parametrize(("known", "status"), [("known", 200), ("", 503)])
async def test_a_job_is_not_asked_for_once_the_server_is_away(
    client: httpx.AsyncClient, inspector: Any, dashboard: Any, monkeypatch: pytest.MonkeyPatch, known: str, status: int
) -> None:
    async def hangs(_job_id: str) -> Any:
        raise AssertionError("it was asked for, and that takes seconds")

    await client.get("/")
    if known:
        await client.get(f"/jobs/{sample.JOB}")
    inspector.away = True
    dashboard.hub.forget()
    monkeypatch.setattr(inspector, "job", hangs)
    shown = await client.get(f"/jobs/{sample.JOB}")
    assert shown.status_code == status
    assert "no answer from redis://localhost:6379" in shown.text


async def test_a_server_that_is_away_leaves_what_was_known(
    client: httpx.AsyncClient, inspector: Any, dashboard: Any
) -> None:
    before = await client.get("/")
    assert "1,204" in before.text
    inspector.away = True
    dashboard.hub.forget()
    after = await client.get("/")
    assert after.status_code == 200
    assert "1,204" in after.text
    banner = after.text.split('id="away"')[1].split(">")[0]
    assert "hidden" not in banner
    assert "no answer from redis://localhost:6379" in after.text


async def test_a_server_that_was_never_there_is_a_page_that_comes_back(
    client: httpx.AsyncClient, inspector: Any
) -> None:
    inspector.away = True
    for path in PAGES:
        shown = await client.get(path)
        assert shown.status_code == 503, path
        assert "data-reload-when-back" in shown.text
        assert "data-events" in shown.text
        assert "<h1>no answer from redis://localhost:6379 (refused)</h1>" in shown.text
        assert "embedded://" not in shown.text  # its worker has another server: an empty one would look like peace
        assert "known last" not in shown.text.split('id="stranger"')[0]
        assert "Traceback" not in shown.text


@pytest.mark.parametrize(
    ("workers", "waiting", "badge"),
    [
        (0, 0, 'is-warning">! no worker'),
        (0, 3, 'is-critical">✖ no worker'),
        (1, 3, 'is-ok">✔ open'),
    ],
)
async def test_a_queue_that_no_worker_serves_says_so_in_words_and_colour(
    client: httpx.AsyncClient, inspector: Any, monkeypatch: Any, workers: int, waiting: int, badge: str
) -> None:
    known = sample.overview()
    queue = replace(known.queues[1], workers=workers, waiting=waiting, suspects=0)

    async def seen() -> Any:
        return replace(known, queues=(queue,))

    monkeypatch.setattr(inspector, "overview", seen)
    for path in ("/", "/queues", "/queues/default"):
        assert f'class="badge {badge}<' in (await client.get(path)).text


async def test_a_mistake_of_ours_is_a_page_and_a_line_in_the_log(
    client: httpx.AsyncClient, inspector: Any, caplog: Any, monkeypatch: Any
) -> None:
    async def broken(**_: Any) -> Any:
        raise RuntimeError("secret detail")

    monkeypatch.setattr(inspector, "failures", broken)
    shown = await client.get("/failures")
    assert shown.status_code == 500
    assert "secret detail" not in shown.text
    assert "secret detail" in caplog.text


async def test_a_page_holds_its_headers(client: httpx.AsyncClient) -> None:
    for path in ("/", "/nowhere", "/static/app.js"):
        headers = (await client.get(path)).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "same-origin"
        assert headers["x-frame-options"] == "DENY"
        assert headers["cache-control"] == (
            "no-store" if "static" not in path else "public, max-age=31536000, immutable"
        )


def test_what_is_ours_makes_no_code_of_text() -> None:
    folder = Path(web.__file__).parent
    for path in [*(folder / "static").glob("*.js"), *folder.glob("templates/**/*.html")]:
        if ".min." not in path.name:
            found = re.search(
                r"\.(?:inner|outer)HTML|insertAdjacent|document\.write|\beval\(|new Function|\son\w+=|\| *safe",
                path.read_text("utf-8"),
            )
            assert found is None, f"{path.name}: {found}"


async def test_what_others_wrote_comes_with_its_licence(client: httpx.AsyncClient) -> None:
    for name, word in (
        ("htmx.LICENSE.txt", "Zero-Clause BSD"),
        ("uPlot.LICENSE.txt", "MIT"),
        ("THIRD_PARTY.md", "uplot"),
    ):
        assert word in (await client.get(f"/static/{name}")).text


def _mounted(dashboard: Any, base: str) -> Any:
    from starlette.applications import Starlette
    from starlette.routing import Mount

    return Starlette(routes=[Mount(base, dashboard)])
