"""Arguments that nobody shall read: masked in what is shown of a call and in a text that holds them."""

from __future__ import annotations

import json

import pytest

from aiotq import App
from aiotq.errors import UsageError
from aiotq.veil import MASK, Veil

APP = App("memory://veil")


def of(*names: str, places: tuple[str, ...] = ("user", "password"), rest: str | None = None, extra: str | None = None):
    return Veil(frozenset(names), places=places, rest=rest, extra=extra)


@pytest.mark.parametrize(
    ("args", "kwargs", "shown"),
    [
        (["ada", "secret"], {}, f'["ada",{MASK}] {{}}'),
        (["ada"], {"password": "secret"}, f'["ada"] {{"password":{MASK}}}'),
        ([], {"user": "ada", "password": {"a": [1, "secret"]}}, f'[] {{"user":"ada","password":{MASK}}}'),
        (["ada"], {}, '["ada"] {}'),
    ],
)
def test_a_sensitive_argument_is_shown_as_a_mask_wherever_it_stands(args: list, kwargs: dict, shown: str) -> None:
    veil = of("password")
    assert veil.arguments(json.dumps(args).encode(), json.dumps(kwargs, separators=(",", ":")).encode()) == shown


def test_the_rest_of_the_arguments_can_be_sensitive_by_its_name() -> None:
    veil = of("rest", "more", places=("user",), rest="rest", extra="more")
    assert veil.arguments(b'["ada","x","y"]', b'{"z":1}') == f'["ada",{MASK},{MASK}] {{"z":{MASK}}}'


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("hunter2", "no user has 'hunter2'"),
        ("hun'ter2", 'wrong: "hun\'ter2"'),
        ("line\nbreak", r"got 'line\nbreak' there"),
        ("häßlich", r"got h\u00e4\u00dflich"),
        (123456, "PIN 123456 is wrong"),
        ({"card": {"number": "4111 1111"}}, "4111 1111 was refused"),
        ([["aaa-key"]], "aaa-key"),
        ("c2VjcmV0LWJ5dGVz", "b'secret-bytes'"),  # as JSON carries bytes
    ],
)
def test_a_sensitive_value_is_masked_in_a_text_in_whatever_form(value: object, text: str) -> None:
    masked = of("password").text(text, b'["ada"]', json.dumps({"password": value}).encode())
    assert MASK in masked
    for form in ("hunter2", "ter2", "break", "lich", "123456", "4111", "aaa-key", "secret"):
        assert form not in masked


def test_other_arguments_and_short_values_are_left_in_a_text() -> None:
    assert of("password").text("ada: x is not a y", b'["ada","x"]', b"{}") == "ada: x is not a y"


def test_a_value_within_another_leaves_nothing_of_the_longer_one() -> None:
    masked = of("password").text("got secret-key-1", b'["ada",["secret","secret-key-1"]]', b"{}")
    assert masked == f"got {MASK}"


def test_arguments_that_do_not_decode_are_masked_whole() -> None:
    assert "hunter2" not in of("password").arguments(b'["ada","hunter2', b"{}")
    assert "hunter2" not in of("password").text("hunter2", b'["ada","hunter2', b"{}")


def test_names_that_are_no_parameters_are_refused() -> None:
    async def login(user: str, *, password: str) -> None: ...

    assert APP.task(login, name="login", sensitive={"password"}).name == "login"
    with pytest.raises(UsageError, match=r"'pasword' is no parameter of login.*user, password"):
        APP.task(login, name="mistaken", sensitive=["pasword"])
    with pytest.raises(UsageError, match="sensitive='password' is not allowed"):
        APP.task(login, name="text", sensitive="password")


def test_a_call_that_is_shown_shows_no_sensitive_argument() -> None:
    @APP.task(name="pay", sensitive={"card"})
    async def pay(card: str, amount: int) -> None: ...

    assert repr(pay.s("4111 1111", 5)) == f"<Signature pay [{MASK},5] {{}}>"
