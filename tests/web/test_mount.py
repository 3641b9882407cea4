"""The dashboard inside services."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

from aiotq.web import aiotq_dashboard
from tests.web import sample
from tests.web.streams import stream
from tests.web.visitor import post, visitor

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


def service(dashboard: Any, path: str = "/jobs") -> Starlette:
    async def home(_request: Any) -> PlainTextResponse:
        return PlainTextResponse("home")

    @asynccontextmanager
    async def lifespan(_app: Any) -> AsyncIterator[None]:
        yield

    def wrong(_request: Any, _error: Exception) -> PlainTextResponse:
        return PlainTextResponse("the service's own", status_code=418)

    made = Starlette(routes=[Route("/", home)], lifespan=lifespan, exception_handlers={ValueError: wrong, 404: wrong})
    made.mount(path, dashboard)
    return made


@pytest.mark.parametrize("path", ["/jobs", "/a/b/c"])
async def test_it_works_below_any_path_of_a_service(dashboard: Any, inspector: Any, path: str) -> None:
    async with visitor(service(dashboard, path)) as client:
        assert (await client.get("/")).text == "home"
        assert (await client.get(f"{path}/")).status_code == 200
        acted = await post(
            client,
            f"{path}/act",
            {"verb": "retry", "job": sample.JOB, "next": f"/jobs/{sample.JOB}"},
            page=f"{path}/jobs/{sample.JOB}",
        )
        assert acted.headers["location"] == f"{path}/jobs/{sample.JOB}"
        assert ("retry", sample.JOB) in inspector.asked
        assert "Job a1f9c2 was retried" in (await client.get(f"{path}/jobs")).text


@pytest.mark.parametrize("root", ["/jobs", "/jobs/"])
@pytest.mark.parametrize("job_id", ["login-1", "session-1"])
async def test_a_job_named_like_an_open_page_is_not_open(
    inspector: Any, root: str, job_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[str] = []
    monkeypatch.setattr(inspector, "job", shown.append)
    guarded = aiotq_dashboard(sample.app(inspector), token="a-secret-of-the-shop")

    async def below(scope: Any, receive: Any, send: Any) -> None:
        await guarded({**scope, "root_path": root}, receive, send)

    async with visitor(below) as client:
        for path in (f"/jobs/{job_id}", f"/jobs/jobs/{job_id}"):
            assert (await client.get(path, headers={"Accept": "text/plain"})).status_code in {401, 404}
    assert shown == []


async def test_its_messages_are_its_own_and_not_those_of_the_service(dashboard: Any) -> None:
    async with visitor(service(dashboard)) as client:
        assert (await client.get("/nowhere")).status_code == 418
        for path, status in (("/jobs/nowhere", 404), ("/jobs/jobs?limit=x", 400), ("/jobs/queues/a%20b", 400)):
            shown = await client.get(path)
            assert shown.status_code == status
            assert "<h1>" in shown.text


async def test_its_cookies_are_sent_to_it_alone() -> None:
    guarded = aiotq_dashboard(sample.app(sample.Inspector()), token="a-token-that-nobody-guesses")
    async with visitor(service(guarded)) as client:
        entered = await post(client, "/jobs/login", {"token": "a-token-that-nobody-guesses"}, page="/jobs/login")
        assert entered.headers["location"] == "/jobs/"
        for cookie in entered.headers.get_list("set-cookie"):
            assert "Path=/jobs;" in cookie


@pytest.mark.parametrize(
    "tenant", ["a;%20Domain=evil.example", "a%3B%20Domain=evil.example", "a%0d%0aX-Evil:%20x", "a%3Fb%23c%25d"]
)
async def test_where_it_is_mounted_is_neither_a_header_nor_part_of_one(dashboard: Any, tenant: str) -> None:
    async with visitor(service(dashboard, "/t/{tenant}")) as client:
        shown = await client.get(f"/t/{tenant}/jobs")
    assert shown.status_code == 200
    [cookie] = shown.headers.get_list("set-cookie")
    assert [part.partition("=")[0] for part in cookie.split("; ")[1:]] == ["Path", "HttpOnly", "SameSite"]
    assert cookie.isprintable()
    where = quote(unquote(tenant), safe=":=")
    assert f"; Path=/t/{where};" in cookie
    assert f'href="/t/{where}/queues"' in shown.text


@pytest.mark.parametrize("tenant", ["a%20b", "r%C3%A9sum%C3%A9", "a+b@c,d=e", "a%3Fb"])
async def test_where_it_is_mounted_its_cookies_come_back(dashboard: Any, tenant: str) -> None:
    base = f"/t/{tenant}"
    async with visitor(service(dashboard, "/t/{tenant}")) as client:
        order = {"verb": "retry", "job": sample.JOB, "next": "/jobs"}
        acted = await post(client, f"{base}/act", order, page=f"{base}/jobs")
        assert (acted.status_code, acted.headers["location"]) == (303, f"{base}/jobs")
        assert "Job a1f9c2 was retried" in (await client.get(f"{base}/jobs")).text


async def test_two_dashboards_of_one_service_keep_their_sessions_apart() -> None:
    one, two = (
        aiotq_dashboard(sample.app(sample.Inspector(), name), token=f"a-token-that-nobody-guesses-{name}")
        for name in ("shop", "bank")
    )
    both = Starlette(routes=[Mount("/one", one), Mount("/two", two)])
    async with visitor(both) as client:
        await post(client, "/one/login", {"token": "a-token-that-nobody-guesses-shop"}, page="/one/login")
        assert (await client.get("/one/jobs")).status_code == 200
        assert (await client.get("/two/jobs")).status_code == 303


async def test_a_websocket_and_a_lifespan_are_let_be(dashboard: Any) -> None:
    async def receive() -> Any:
        raise AssertionError("nothing was to be received")

    async def send(_message: Any) -> None:
        raise AssertionError("nothing was to be sent")

    for kind in ("websocket", "lifespan"):
        await dashboard({"type": kind}, receive, send)


async def test_events_of_a_mounted_one_name_its_paths(inspector: Any) -> None:
    dashboard = aiotq_dashboard(sample.app(inspector))

    async def below(scope: Any, receive: Any, send: Any) -> None:
        await dashboard({**scope, "root_path": "/jobs", "path": "/jobs" + scope["path"]}, receive, send)

    async with stream(below) as events:
        assert 'href="/jobs/queues/mail"' in (await events.next("parts"))["live-queues"]


async def test_a_hook_for_redaction_reaches_the_inspector(inspector: Any) -> None:
    def redact(_task: str, arguments: Any) -> Any:
        return arguments

    aiotq_dashboard(sample.app(inspector), redact=redact)
    assert ("redacting", redact) in inspector.asked
