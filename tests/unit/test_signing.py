"""Signatures: what is signed, what a change to it comes to, and which keys may be given."""

from __future__ import annotations

import time

import pytest

from aiotq import App, record, signing
from aiotq.document import Document
from aiotq.errors import BadSignature, InvalidRecord, UsageError
from aiotq.job import LARGE, LARGE_RECORD
from aiotq.signing import ADDED, VARIABLE, Signer, of_environment
from aiotq.splice import First

KEY, OTHER = b"k" * 32, b"o" * 32
SIGNER = Signer([KEY], namespace="shop")


def plain_record(text: str = "Ada") -> bytes:
    document = Document(
        task="shop:greet", args=record.Raw(f'["{text}"]'.encode()), queue="mail", retries=5, timeout_ms=9
    )
    head, body, _ = record.new(document, generation="AAAA")
    return head + b"1800000000000" + body


SIGNED = SIGNER.signed("j1", plain_record())


def test_a_signed_record_is_the_record_and_one_member_more_that_any_reader_takes() -> None:
    assert len(SIGNED) == len(plain_record()) + ADDED
    assert SIGNER.opened("j1", SIGNED) == plain_record()
    assert record.decode("j1", SIGNED).doc.signature is not None


@pytest.mark.parametrize("at", range(len(SIGNED)))
def test_a_flipped_bit_is_refused_wherever_it_stands_but_in_what_scripts_write(at: int) -> None:
    for bit in (1, 0x20, 0x80):
        flipped = SIGNED[:at] + bytes([SIGNED[at] ^ bit]) + SIGNED[at + 1 :]
        if 2 <= at < record.HEADER:  # the generation and the time of enqueuing
            assert SIGNER.opened("j1", flipped)[record.HEADER :] == plain_record()[record.HEADER :]
        elif at == 0 and flipped[:1].isdigit():  # a newer version: nobody reads it here
            with pytest.raises(InvalidRecord):
                record.decode("j1", SIGNER.opened("j1", flipped))
        else:
            with pytest.raises(BadSignature):
                SIGNER.opened("j1", flipped)


@pytest.mark.parametrize(
    "cut", [b"", b"1", SIGNED[:19], SIGNED[:-1], SIGNED[:-ADDED], SIGNED + b" ", plain_record(), b'"}' * 40, b"1w" * 40]
)
def test_what_carries_no_whole_signature_is_refused(cut: bytes) -> None:
    with pytest.raises(BadSignature, match="j1"):
        SIGNER.opened("j1", cut)


def test_a_signature_is_of_one_job_one_namespace_one_state_and_one_key() -> None:
    for signer, job_id, data in (
        (SIGNER, "j2", SIGNED),
        (SIGNER, "j", SIGNED),
        (Signer([KEY], namespace="shop2"), "j1", SIGNED),
        (Signer([OTHER], namespace="shop"), "j1", SIGNED),
        (SIGNER, "j1", b"1s" + SIGNED[2:]),
    ):
        with pytest.raises(BadSignature):
            signer.opened(job_id, data)


def test_the_first_key_signs_and_every_key_is_taken() -> None:
    rotating = Signer([OTHER, KEY], namespace="shop")
    assert rotating.opened("j1", SIGNED) == plain_record()
    with pytest.raises(BadSignature):
        SIGNER.opened("j1", rotating.signed("j1", plain_record()))


def test_one_part_cannot_be_moved_into_the_next() -> None:
    """As "ab" of "c" is not "a" of "bc"."""
    first = Signer([KEY], namespace="shop").signed("xj", plain_record())
    with pytest.raises(BadSignature):
        Signer([KEY], namespace="shopx").opened("j", first)


def test_a_record_that_its_signature_makes_a_large_one_is_marked() -> None:
    length = LARGE_RECORD - len(plain_record("")) - 10
    fits = plain_record("x" * length)
    assert len(fits) <= LARGE_RECORD < len(SIGNER.signed("j1", fits))
    assert SIGNER.signed("j1", fits)[2:3] == LARGE.encode()
    document = Document(task="t")
    args = b'["' + b"x" * (LARGE_RECORD - 40) + b'"]'
    assert First(document).new(args, b"{}", job_id="j1", generation="AAAA")[2] == "AAAA"
    head, body, generation = First(document, signer=SIGNER).new(args, b"{}", job_id="j1", generation="AAAA")
    assert generation == "!AAA"
    assert SIGNER.opened("j1", head + b"1800000000000" + body)


def test_headers_are_signed() -> None:
    document = Document(task="t")
    head, body, _ = First(document, signer=SIGNER).new(b"[]", b"{}", b'{"a":"b"}', job_id="j1", generation="AAAA")
    stored = head + b"1800000000000" + body
    assert record.decode("j1", SIGNER.opened("j1", stored)).doc.headers == {"a": "b"}
    for forged in (stored.replace(b'"a":"b"', b'"a":"c"'), b"1" + stored[1:]):
        with pytest.raises(BadSignature):
            SIGNER.opened("j1", forged)


def test_a_rewritten_record_carries_no_signature_of_the_old_one() -> None:
    read = record.decode("j1", SIGNED)
    after = record.cancelled(read, reason="cancelled", generation="BBBB", finished_ms=1)
    assert b'"s":' not in after


# --- keys -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("keys", [[], "x" * 40, b"x" * 40, ["short"], [5], ["x" * 40, ""], [None], {"x" * 40}])
def test_keys_that_cannot_be_right_are_refused_and_never_shown(keys: object) -> None:
    with pytest.raises(UsageError, match=r"token_hex\(32\)") as refused:
        App(signing_keys=keys)  # type: ignore[arg-type]
    assert "x" * 16 not in str(refused.value)
    assert "short" not in str(refused.value).replace("short,", "")


def test_no_repr_shows_a_key() -> None:
    app = App("memory://keys", signing_keys=["canary-canary-canary"])
    shown = [repr(thing) for thing in (app, app._core.settings, app._core.signer, app.worker()._settings)]
    assert not [text for text in shown if "canary" in text]


def test_the_environment_gives_keys_to_an_app_without_any(monkeypatch: pytest.MonkeyPatch) -> None:
    app = App("memory://keys", namespace="shop")
    monkeypatch.setenv(VARIABLE, f"{OTHER.decode()}, {KEY.decode()}")
    found = app._core.signer
    assert found is not None
    assert found.opened("j1", SIGNED) == plain_record()
    given = App("memory://keys", namespace="shop", signing_keys=[OTHER])._core.signer
    assert given is not None
    with pytest.raises(BadSignature):
        given.opened("j1", SIGNED)


def test_an_app_without_keys_signs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert of_environment({}) == of_environment({VARIABLE: ""}) == ()
    monkeypatch.delenv(VARIABLE, raising=False)
    assert App("memory://keys")._core.signer is None
    with pytest.raises(UsageError, match=VARIABLE):
        of_environment({VARIABLE: " , "})


def test_another_namespace_has_another_signer() -> None:
    from dataclasses import replace

    core = App("memory://keys", namespace="shop", signing_keys=[KEY])._core
    first = core.signer
    assert first is core.signer  # made once
    core.settings = replace(core.settings, namespace="test")  # as --namespace does
    assert core.signer is not None
    with pytest.raises(BadSignature):
        core.signer.opened("j1", SIGNED)


def test_signatures_are_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[bytes, bytes]] = []
    digest = signing.hmac.compare_digest
    monkeypatch.setattr(signing.hmac, "compare_digest", lambda a, b: compared.append((a, b)) or digest(a, b))
    SIGNER.opened("j1", SIGNED)
    assert [len(told) for pair in compared for told in pair] == [43, 43]


def test_a_megabyte_is_signed_in_milliseconds() -> None:
    body = b'{"a":["' + b"x" * (1 << 20) + b'"]}'
    began = time.process_time()
    SIGNER.body("j1", b"1w", body)
    assert time.process_time() - began < 0.1
