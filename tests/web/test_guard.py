"""Who may come in, and from where an act may come."""

from __future__ import annotations

import base64
from time import process_time
from typing import Any

import pytest

from aiotq.errors import UsageError
from aiotq.web import aiotq_dashboard, cookies, parse
from aiotq.web.access import Access
from aiotq.web.cookies import SESSION_S, Signing
from tests.web import sample
from tests.web.visitor import FORM, post, visitor

TOKEN = "a-token-that-nobody-guesses"
HOME = "http://127.0.0.1:8383"


def made(**options: Any) -> Any:
    return aiotq_dashboard(sample.app(sample.Inspector()), **options)


# --- a token ------------------------------------------------------------------------------------------------------


async def test_a_token_is_asked_for_and_leads_to_where_one_wanted_to_go() -> None:
    async with visitor(made(token=TOKEN)) as client:
        sent = await client.get("/jobs?status=failed")
        assert (sent.status_code, sent.headers["location"]) == (303, "/login?next=/jobs%3Fstatus%3Dfailed")
        page = sent.headers["location"]
        entered = await post(client, "/login", {"token": TOKEN, "next": "/jobs?status=failed"}, page=page)
        assert (entered.status_code, entered.headers["location"]) == (303, "/jobs?status=failed")
        shown = await client.get("/jobs?status=failed")
        assert shown.status_code == 200
        assert "you are token (dashboard)" in shown.text


async def test_the_session_cookie_is_out_of_reach_of_scripts_and_of_other_sites() -> None:
    async with visitor(made(token=TOKEN), at="https://jobs.example") as client:
        entered = await post(client, "/login", {"token": TOKEN}, page="/login")
        cookie = next(text for text in entered.headers.get_list("set-cookie") if "session=" in text)
        assert "HttpOnly" in cookie
        assert "SameSite=Strict" in cookie
        assert "Secure" in cookie
        assert TOKEN not in cookie


@pytest.mark.parametrize("given", ["", "wrong", TOKEN[:-1], TOKEN + "x", "ü" * 20, "x" * 5000])
async def test_a_wrong_token_lets_nobody_in(given: str) -> None:
    async with visitor(made(token=TOKEN)) as client:
        entered = await post(client, "/login", {"token": given}, page="/login")
        assert entered.status_code == 401
        assert "That is not the token" in entered.text
        assert (await client.get("/")).status_code == 303


@pytest.mark.parametrize(
    "next_",
    [
        "//evil.example",
        "https://evil.example/",
        "/\\evil.example",
        "javascript:alert(1)",
        "evil",
        "/\n/evil",
        "/" * 3000,
    ],
)
async def test_a_login_leads_nowhere_else(next_: str) -> None:
    async with visitor(made(token=TOKEN)) as client:
        page = await client.get("/login", params={"next": next_})
        assert "evil" not in page.text
        entered = await post(client, "/login", {"token": TOKEN, "next": next_}, page="/login")
        assert entered.headers["location"] == "/"


def test_a_path_that_is_too_long_leads_to_the_overview_and_none_is_cut() -> None:
    longest = "/jobs?" + "x" * parse.LONGEST_QUERY
    assert parse.next_path(longest, "/base") == f"/base{longest}"
    assert parse.next_path("/" + "x" * parse.LONGEST_PATH, "/base") == "/base/"


async def test_a_forged_or_old_session_is_none() -> None:
    now = [1_000_000.0]
    signing = Signing(key=b"k", now_s=lambda: now[0])
    session = signing.new_session()
    assert signing.is_session(session)
    assert not signing.is_session(session + "x")
    assert not signing.is_session(signing.seal("flash", signing.opened("session", session) or ""))
    assert not Signing(key=b"other").is_session(session)
    now[0] += SESSION_S + 1
    assert not signing.is_session(session)
    assert not signing.is_session("")


async def test_a_program_sends_the_token_as_bearer_and_gets_no_login_page() -> None:
    async with visitor(made(token=TOKEN)) as client:
        right = await client.get("/jobs", headers={"Authorization": f"Bearer {TOKEN}", "Accept": "*/*"})
        assert right.status_code == 200
        wrong = await client.get("/jobs", headers={"Authorization": "Bearer no", "Accept": "*/*"})
        assert wrong.status_code == 401


async def test_events_and_acts_need_the_token_too() -> None:
    async with visitor(made(token=TOKEN)) as client:
        for headers in ({"Accept": "text/event-stream"}, {"Accept": "*/*"}):  # no login page: its reader is a script
            assert (await client.get("/events", headers=headers)).status_code == 401
        acted = await post(client, "/act", {"verb": "pause", "queue": "mail"}, page="/login")
        assert acted.status_code == 401


async def test_logging_out_ends_the_session() -> None:
    async with visitor(made(token=TOKEN)) as client:
        await post(client, "/login", {"token": TOKEN}, page="/login")
        assert (await client.get("/session")).status_code == 204
        await post(client, "/logout", {}, page="/jobs")
        assert (await client.get("/session")).status_code == 401
        assert (await client.get("/jobs")).status_code == 303


async def test_a_copy_of_a_session_that_was_ended_opens_nothing() -> None:
    dashboard = made(token=TOKEN)
    async with visitor(dashboard) as client, visitor(dashboard) as thief, visitor(dashboard) as other:
        await post(client, "/login", {"token": TOKEN}, page="/login")
        await post(other, "/login", {"token": TOKEN}, page="/login")
        thief.cookies.update(client.cookies)
        assert (await thief.get("/jobs")).status_code == 200
        await post(client, "/logout", {}, page="/jobs")
        assert (await thief.get("/jobs")).status_code == 303
        assert (await other.get("/jobs")).status_code == 200


def test_ended_sessions_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cookies, "MOST_ENDED", 3)
    signing = Signing(key=b"k")
    sessions = [signing.new_session() for _ in range(5)]
    for session in (*sessions, "", "forged", sessions[-1]):
        signing.end_session(session)
    assert list(signing.ended) == sessions[2:]


async def test_a_login_needs_a_form_of_ours() -> None:
    async with visitor(made(token=TOKEN)) as client:
        entered = await post(client, "/login", {"token": TOKEN, "csrf": "x"}, page="/login")
        assert entered.status_code == 403


# --- passwords, and a hook ----------------------------------------------------------------------------------------


def basic(user: str, password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


async def test_a_user_comes_in_with_the_password() -> None:
    async with visitor(made(basic={"ada": "lovelace", "bob": "builder"})) as client:
        refused = await client.get("/")
        assert refused.status_code == 401
        assert refused.headers["www-authenticate"].startswith("Basic")
        shown = await client.get("/jobs", headers=basic("ada", "lovelace"))
        assert "you are ada (dashboard)" in shown.text
        for user, password in (("ada", "builder"), ("ada", ""), ("", ""), ("eve", "lovelace")):
            assert (await client.get("/jobs", headers=basic(user, password))).status_code == 401
        for header in ("Basic", "Basic !!", "Basic " + "A" * 9999, "Bearer x", "Basic /w=="):
            assert (await client.get("/jobs", headers={"Authorization": header})).status_code == 401


async def test_a_hook_says_who_it_is_from_the_scope() -> None:
    seen: list[Any] = []

    async def hook(scope: Any) -> str | None:
        seen.append(scope)
        return dict(scope["headers"]).get(b"x-user", b"").decode() or None

    async with visitor(made(auth=hook)) as client:
        assert (await client.get("/")).status_code == 403
        shown = await client.get("/jobs", headers={"X-User": "grace"})
        assert "you are grace (dashboard)" in shown.text
        assert seen[0]["type"] == "http"


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("n" * 88, "n" * 88),
        ("n" * 89, "n" * 85 + "..."),
        ("CN=Grace Hopper," * 900, ("CN=Grace Hopper," * 6)[:85] + "..."),
        ("grace\nhopper", "grace\\nhopper"),
        ("\0" * 100, (r"\x00" * 22)[:85] + "..."),
        ("\ud800", r"\ud800"),
    ],
)
async def test_whatever_one_is_called_one_may_act(name: str, shown: str) -> None:
    inspector = sample.Inspector()
    async with visitor(aiotq_dashboard(sample.app(inspector), auth=lambda _scope: name)) as client:
        assert (await post(client, "/act", {"verb": "retry", "job": sample.JOB})).status_code == 303
        assert inspector.by == f"{shown} (dashboard)"
        assert f"you are {shown} (dashboard)" in (await client.get("/jobs")).text


async def test_whatever_a_proxy_says_of_an_address_one_may_act() -> None:
    inspector = sample.Inspector()
    dashboard = aiotq_dashboard(sample.app(inspector))

    async def behind(scope: Any, receive: Any, send: Any) -> None:
        await dashboard({**scope, "client": ("for" * 99, 0)}, receive, send)

    async with visitor(behind) as client:
        assert (await post(client, "/act", {"verb": "retry", "job": sample.JOB})).status_code == 303
    assert inspector.by == f"{('for' * 99)[:85]}... (dashboard)"


@pytest.mark.parametrize("answer", [True, 1, object(), {"user": "x"}, "", None])
async def test_a_hook_that_names_nobody_lets_nobody_in(answer: Any) -> None:
    async with visitor(made(auth=lambda _scope: answer)) as client:
        assert (await client.get("/")).status_code == 403


async def test_a_hook_that_fails_lets_nobody_in(caplog: Any) -> None:
    def hook(_scope: Any) -> str:
        raise RuntimeError("no database")

    async with visitor(made(auth=hook)) as client:
        shown = await client.get("/")
        assert shown.status_code == 403
        assert "no database" not in shown.text
        assert "no database" in caplog.text


@pytest.mark.parametrize(
    "options",
    [
        {"token": "short"},
        {"token": TOKEN, "basic": {"a": "b"}},
        {"basic": {"a": ""}},
        {"basic": {"a:b": "c"}},
        {"auth": "module:hook"},
    ],
)
def test_settings_that_guard_nothing_are_mistakes(options: Any) -> None:
    with pytest.raises(UsageError, match=r"expected|pass"):
        made(**options)


def test_no_secret_is_in_what_is_logged() -> None:
    from aiotq.web.access import Access

    assert TOKEN not in repr(Access(token=TOKEN))
    assert "lovelace" not in repr(Access(basic={"ada": "lovelace"}))


# --- from where ---------------------------------------------------------------------------------------------------


async def test_an_act_needs_a_form_of_this_browser() -> None:
    dashboard = made()
    order = {"verb": "pause", "queue": "mail"}
    async with visitor(dashboard) as client, visitor(dashboard) as other:
        page = await other.get("/jobs")
        stolen = page.text.split('name="csrf" value="')[1].split('"')[0]
        for token in ("", "x", stolen):
            assert (await post(client, "/act", {**order, "csrf": token})).status_code == 403
        assert (await client.post("/act", content="verb=pause&queue=mail", headers=FORM)).status_code == 403
        assert (await post(client, "/act", order)).status_code == 303


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://[bad"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Origin": HOME}, 303),
        ({"Sec-Fetch-Site": "same-origin", "Origin": "https://jobs.example"}, 303),  # a proxy that changes the name
    ],
)
async def test_a_form_of_another_site_is_refused(headers: dict[str, str], status: int) -> None:
    async with visitor(made()) as client:
        acted = await post(client, "/act", {"verb": "pause", "queue": "mail"}, **headers)
        assert acted.status_code == status


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8383", "127.0.0.1.evil.example", "", "[bad", "a@127.0.0.1"]
)
async def test_a_name_that_is_not_known_is_refused(host: str) -> None:
    async with visitor(made(hosts={"127.0.0.1", "localhost", "::1"})) as client:
        for path in ("/", "/events", "/static/app.js"):
            assert (await client.get(path, headers={"Host": host})).status_code == 421
        for known in ("127.0.0.1:8383", "localhost", "[::1]:8383"):
            assert (await client.get("/jobs", headers={"Host": known})).status_code == 200


async def test_a_name_is_known_however_it_is_written() -> None:
    async with visitor(made(hosts={"Jobs.Example"})) as client:
        assert (await client.get("/jobs", headers={"Host": "jobs.EXAMPLE"})).status_code == 200


def test_names_are_no_single_str() -> None:
    with pytest.raises(UsageError, match=r"pass \{'jobs\.example'\}"):
        made(hosts="jobs.example")


async def test_trying_passwords_on_what_anybody_is_sent_is_dear() -> None:
    access, namespace = Access(basic={"ada": "summer"}), sample.app(sample.Inspector()).namespace
    began_s = process_time()
    prefix = Signing(key=access.key(namespace)).prefix
    assert process_time() - began_s > 0.005
    async with visitor(made(basic={"ada": "summer"})) as client:
        assert prefix in (await client.get("/")).headers["set-cookie"]


# --- read-only ----------------------------------------------------------------------------------------------------


async def test_read_only_shows_no_act_and_refuses_each() -> None:
    inspector = sample.Inspector()
    async with visitor(aiotq_dashboard(sample.app(inspector), read_only=True)) as client:
        for path in ("/", "/queues/mail", "/jobs", "/dead", f"/jobs/{sample.JOB}", "/failures"):
            shown = await client.get(path)
            assert 'name="verb"' not in shown.text
            assert "read-only" in shown.text
        jobs = await client.get("/jobs")
        token = jobs.text.split('name="csrf" value="')[1].split('"')[0]
        asked = len(inspector.asked)
        for verb in ("pause", "resume", "purge", "retry", "cancel", "discard", "promote", "requeue"):
            order = {"verb": verb, "queue": "mail", "job": sample.JOB, "confirmed": "yes", "csrf": token}
            assert (await post(client, "/act", order, page="/audit")).status_code == 403
        assert not [what for what in inspector.asked[asked:] if what[0] != "audit"]
