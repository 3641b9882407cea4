"""Spliced records are byte for byte those that record.py makes."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from aiotq import record as records
from aiotq import splice
from aiotq.document import NO_ARGS, NO_KWARGS, NO_RESULT, Document, PastAttempt, Raised, Unknown
from aiotq.errors import InvalidRecord, NewerRecord
from aiotq.job import LARGE_RECORD, Succeeded

GENERATION, NOW_MS = "Ab_9", 1_795_439_224_123
arguments = st.lists(st.text(max_size=20) | st.integers(-9, 9), max_size=3).map(msgspec.json.encode)
keywords = st.dictionaries(st.text(max_size=5), st.integers(), max_size=3).map(msgspec.json.encode)
headers = st.none() | st.dictionaries(st.text(max_size=5), st.text(max_size=20), min_size=1, max_size=3)
maybe = st.none() | st.integers(0, 1 << 40)
documents = st.builds(
    Document,
    task=st.text(min_size=1, max_size=20),
    queue=st.sampled_from(["default", "mail"]),
    priority=st.integers(0, 9),
    retries=maybe,
    timeout_ms=maybe,
    result_ttl_ms=maybe,
    delay_ms=maybe,
    due_ms=maybe,
    expires_ms=maybe,
)


def with_arguments(document: Document, args: bytes, kwargs: bytes, headers: dict[str, str] | None = None) -> Document:
    return msgspec.structs.replace(
        document,
        args=NO_ARGS if args == b"[]" else Raw(args),
        kwargs=NO_KWARGS if kwargs == b"{}" else Raw(kwargs),
        headers=headers,
    )


def written(document: Document) -> tuple[records.Record, bytes]:
    head, body, _ = records.new(document, generation=GENERATION)
    data = head + b"%013d" % NOW_MS + body
    return records.decode("j1", data), data


@given(documents, arguments, keywords, headers)
def test_a_first_record_is_the_encoded_one(
    document: Document, args: bytes, kwargs: bytes, sent: dict[str, str] | None
) -> None:
    plain = records.new(with_arguments(document, args, kwargs, sent), generation=GENERATION)

    stored = b"" if sent is None else msgspec.json.encode(sent)
    assert splice.First(document).new(args, kwargs, stored, job_id="j", generation=GENERATION) == plain
    assert plain[0][:1] == (b"1" if sent is None else b"2")


@pytest.mark.parametrize("over", range(-2, 3))
def test_a_first_record_that_is_large_is_marked_from_the_same_byte_on(over: int) -> None:
    document = Document(task="t")
    rest = records.HEADER + len(records.new(with_arguments(document, b'[""]', b"{}"), generation=GENERATION)[1])
    args = msgspec.json.encode(["x" * (LARGE_RECORD - rest + over)])
    plain = records.new(with_arguments(document, args, b"{}"), generation=GENERATION)

    assert splice.First(document).new(args, b"{}", job_id="j", generation=GENERATION) == plain
    assert plain[2].startswith("!") is (over > 0)


@given(documents, arguments, keywords, headers, st.none() | arguments, st.text(max_size=20))
def test_the_record_after_a_success_is_the_encoded_one(
    document: Document,
    args: bytes,
    kwargs: bytes,
    sent: dict[str, str] | None,
    result: bytes | None,
    worker: str,
) -> None:
    record, data = written(with_arguments(document, args, kwargs, sent))
    plain = records.after(
        record, Succeeded(result=result), generation=GENERATION, worker=worker, started_ms=5, finished_ms=7
    )

    assert splice.succeeded(record, data, result, worker=worker, started_ms=5, finished_ms=7) == plain


@pytest.mark.parametrize(
    "odd",
    [
        {"attempt": 1},
        {"lost": 1},
        {"history": (PastAttempt(1, 1, 2, "w"),)},
        {"error": Raised("E", "m")},
        {"unknown": Unknown(1, 2)},
        {"reason": "lost"},
        {"finished_ms": 3},
        {"worker": "w"},
        {"raw": b"x"},
        {"result": Raw(b"1")},
        {"args": Raw(b'["' + b"x" * LARGE_RECORD + b'"]')},
    ],
    ids=lambda odd: next(iter(odd)),
)
def test_what_takes_more_than_a_splice_is_left_to_the_encoder(odd: dict[str, object]) -> None:
    record, data = written(msgspec.structs.replace(Document(task="t"), **odd))

    assert splice.succeeded(record, data, b"1", worker="w", started_ms=5, finished_ms=7) is None


def test_bytes_after_the_document_are_not_spliced_upon() -> None:
    record, data = written(Document(task="t"))

    assert record.doc.result is NO_RESULT
    assert splice.succeeded(record, data + b" ", b"1", worker="w", started_ms=5, finished_ms=7) is None


@given(documents, arguments, keywords, headers)
def test_a_claimed_record_is_read_as_any_other(
    document: Document, args: bytes, kwargs: bytes, sent: dict[str, str] | None
) -> None:
    record, data = written(with_arguments(document, args, kwargs, sent))

    assert splice.claimed("j1", GENERATION, data) == record


@given(
    st.binary(max_size=60) | documents.map(lambda document: written(document)[1][:-1]),
    st.sampled_from([b"", b"1w", b"2w"]),
)
def test_bytes_that_are_no_record_are_refused_in_the_same_words(data: bytes, before: bytes) -> None:
    data = before + data
    with pytest.raises((InvalidRecord, NewerRecord)) as wanted:
        records.decode("j1", data)
    with pytest.raises(type(wanted.value)) as found:
        splice.claimed("j1", GENERATION, data)

    assert str(found.value) == str(wanted.value)
