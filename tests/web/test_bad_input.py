"""Whatever is asked for: a status, a message, and never a traceback."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest

from tests.web import sample
from tests.web.visitor import FORM, post

if TYPE_CHECKING:
    import httpx

HOSTILE = ["<script>", "../../etc/passwd", "a" * 129, "\x00", "é", "a b", "%", "'; DROP", "{{7*7}}", "\ud7ff", "*"]


@pytest.mark.parametrize("word", HOSTILE)
async def test_a_hostile_name_in_a_path(client: httpx.AsyncClient, word: str) -> None:
    for place in ("queues", "jobs"):
        shown = await client.get(f"/{place}/{quote(word, safe='')}")
        assert shown.status_code in (400, 404), word
        assert "<script>" not in shown.text
        assert "Traceback" not in shown.text


@pytest.mark.parametrize(
    "query",
    [
        "status=dead",
        "status=%00",
        "queue=a%20b",
        "queue=" + "q" * 65,
        "task=" + "t" * 201,
        "task=%00",
        "error=%0a",
        "since=yesterday",
        "since=9999999999d",
        "since=99999d",
        "until=0001-01-01T00:00%2B23:59",
        "until=99999-01-01",
        "limit=0",
        "limit=-1",
        "limit=101",
        "limit=1e9",
        "limit=%EF%BC%91",
        "limit=" + "9" * 5000,
        "cursor=" + "c" * 1025,
        "cursor=%00",
        "x=" + "y" * 5000,
        "bogus=1",
        "size=5",
        "hours=1",
        "status=failed&status=queued",
        "since=1h&until=2h",
        "until=%D9%A1h",
        "since=%D9%A2%D9%A0%D9%A2%D9%A6-01-01",
    ],
)
@pytest.mark.parametrize("page", ["jobs", "dead"])
async def test_a_hostile_filter(client: httpx.AsyncClient, query: str, page: str) -> None:
    shown = await client.get(f"/{page}?{query}")
    if query == "since=99999d":
        assert shown.status_code in (200, 400)  # it may be before the year 1
    else:
        assert shown.status_code == 400
        assert "Traceback" not in shown.text


async def test_what_was_given_is_shown_whole(client: httpx.AsyncClient) -> None:
    shown = await client.get("/jobs/" + quote("'; DROP", safe=""))
    assert "<h1>job=&#34;&#39;; DROP&#34; is no id of a job</h1>" in shown.text


async def test_what_is_empty_is_as_if_it_were_not_given(client: httpx.AsyncClient) -> None:
    assert (await client.get("/jobs?status=&queue=&since=&until=&limit=")).status_code == 200


async def test_what_htmx_adds_to_a_url_is_let_be(client: httpx.AsyncClient) -> None:
    assert (await client.get("/jobs?status=failed&org.htmx.cache-buster=list")).status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        "/?x=1",
        "/failures?since=x",
        "/failures?hours=1&hours=24",
        "/audit?queue=mail",
        "/events?page=none&page=none",
        "/failures?hours=2",
        "/tasks?hours=x",
        "/events?page=x",
        "/events?page=queue&name=%20",
        "/events?page=job&name=",
        "/find?q=",
        "/find?q=%3Cb%3E",
        "/find?q=" + "a" * 200,
    ],
)
async def test_other_hostile_parameters(client: httpx.AsyncClient, path: str) -> None:
    assert (await client.get(path)).status_code == 400


async def test_what_is_not_there(client: httpx.AsyncClient) -> None:
    for path in (
        "/nowhere",
        "/queues/none",
        "/jobs/none",
        "/static/../guard.py",
        "/static/nothing",
        "/static/",
        "/login",
    ):
        assert (await client.get(path)).status_code == 404, path


@pytest.mark.parametrize("path", ["/", "/jobs", "/jobs/x", "/find", "/events", "/login", "/act"])
async def test_bytes_in_a_query_that_are_no_text(inspector: Any, path: str, caplog: pytest.LogCaptureFixture) -> None:
    from aiotq.web import aiotq_dashboard

    for token in (None, "a-token-of-sixteen"):
        status, said = await _ask(aiotq_dashboard(sample.app(inspector), token=token), "GET", path, b"\xff\xfe=1")
        assert (status, b"the query is no UTF-8" in said) == (400, True)
    assert not caplog.records


async def test_the_headers_of_a_stream_are_told_at_once_and_hold_none(dashboard: Any) -> None:
    for _ in range(3):
        assert await _ask(dashboard, "HEAD", "/events", b"page=none") == (200, b"")


async def _ask(asgi: Any, method: str, path: str, query: bytes) -> tuple[int, bytes]:
    """As a server does that passes on what it gets: a status, and a body."""
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "method": method,
        "path": path,
        "root_path": "",
        "query_string": query,
        "headers": [(b"host", b"127.0.0.1:8383"), (b"accept", b"text/html")],
        "client": ("127.0.0.1", 1),
    }
    async with asyncio.timeout(5):
        await asgi(scope, receive, send)
    return sent[0]["status"], b"".join(message.get("body", b"") for message in sent[1:])


async def test_methods_that_no_page_takes(client: httpx.AsyncClient) -> None:
    nothing = await client.get("/act")
    assert (nothing.status_code, "there is nothing to see here" in nothing.text) == (405, True)
    posted = await post(client, "/jobs", {"verb": "retry"})
    assert (posted.status_code, "this page is only looked at" in posted.text) == (405, True)
    for method in ("PUT", "DELETE", "PATCH", "OPTIONS", "BREW"):
        assert (await client.request(method, "/jobs")).status_code == 405
    assert (await client.head("/jobs")).status_code == 200


@pytest.mark.parametrize(
    "pairs",
    [
        {},
        {"verb": "drop"},
        {"verb": "retry"},
        {"verb": "retry", "job": "<b>"},
        {"verb": "retry", "job": "a" * 129},
        {"verb": "pause"},
        {"verb": "pause", "queue": "mail", "bogus": "1"},
        [("verb", "pause"), ("queue", "mail"), ("queue", "default")],
        [("verb", "retry"), ("verb", "cancel"), ("job", "x")],
        {"verb": "retry", "scope": "al", "job": "x"},
        {"verb": "retry", "scope": "all", "since": "1h", "until": "2h"},
        {"verb": "pause", "queue": "a b"},
        {"verb": "requeue", "job": "x", "to": "no such/queue"},
        {"verb": "retry", "scope": "all", "status": "dead"},
        {"verb": "retry", "scope": "all", "since": "x"},
        [("verb", "retry"), *[("job", f"j{number}") for number in range(501)]],
        [("verb", "retry"), *[("job", f"j{number}") for number in range(700)]],
    ],
)
async def test_a_hostile_order(client: httpx.AsyncClient, inspector: Any, pairs: Any) -> None:
    acted = await post(client, "/act", pairs)
    assert acted.status_code == 400
    assert {what[0] for what in inspector.asked} <= {"jobs", "overview"}


async def test_bodies_that_are_no_form(client: httpx.AsyncClient) -> None:
    assert (await client.post("/act", content=b"\xff=\xff", headers=FORM)).status_code == 400
    assert (await client.post("/act", content=b"x" * 300_000, headers=FORM)).status_code == 413
    assert (await client.post("/act", json={"verb": "pause"})).status_code == 415
    assert (await client.post("/act", files={"verb": b"pause"})).status_code == 415


async def test_a_cookie_that_is_no_cookie(client: httpx.AsyncClient) -> None:
    for cookie in ("", ";;;", "=", "a" * 10_000, "aiotq_x=\xff", "; ".join(f"a{n}=b" for n in range(1000))):
        shown = await client.get("/jobs", headers={b"Cookie": cookie.encode("latin-1")})
        assert shown.status_code == 200


async def test_a_queue_that_is_gone_is_said(client: httpx.AsyncClient) -> None:
    shown = await client.get("/queues/nowhere")
    assert "there is no queue &#39;nowhere&#39;" in shown.text
