"""A large record, told by its ends: nothing that lies inside an argument or a result is taken for its own."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from aiotq import record
from aiotq.document import Document, PastAttempt, Raised
from aiotq.inspection.torn import record_of
from aiotq.store.inspection import HEAD, TAIL, Peek

EVIL = {
    "q": "evil",
    "n": 9,
    "e": ["Evil", "evil", []],
    "z": "evil",
    "f": 1,
    "t": "evil",
    'x","z":"evil': {"l": 7, "b": "evil"},
}
LIES = ',"n":9,"e":["Evil","evil",[]],"z":"evil"}'


def told(doc: Document, *, state: str = "f") -> record.Record | None:
    """As it is seen by its ends."""
    data = b"1" + state.encode() + b"AAAA" + b"1800000000000" + msgspec.json.encode(doc)
    return record_of("j", Peek(data[:HEAD], len(data), data[-TAIL:]), record.header(data))


def raw(value: Any) -> Raw:
    return Raw(msgspec.json.encode(value))


def died(**changes: Any) -> Document:
    return Document(
        task="shop:send",
        queue="mail",
        priority=2,
        attempt=4,
        history=(PastAttempt(4, 1, 2, "w-1", "ValueError", "no"),),
        error=Raised("ValueError", "no"),
        reason="error",
        lost=1,
        **changes,
    )


LARGE: list[dict[str, Any]] = [
    {"args": raw(["x" * 100_000])},
    {"args": raw([EVIL] * 2_000), "kwargs": raw({"a": [EVIL] * 500})},
    {"args": raw([LIES * 5_000])},
    {"kwargs": raw({"k": [1] * 50_000})},
    {"args": raw([1]), "result": raw([EVIL] * 3_000)},
    {"args": raw([EVIL]), "result": raw(LIES * 3_000)},
]


@pytest.mark.parametrize("large", LARGE)
def test_all_but_its_arguments_and_its_result_is_told(large: dict[str, Any]) -> None:
    found = told(died(**large))
    assert found is not None
    doc = found.doc
    assert (doc.task, doc.reason, doc.lost) == ("shop:send", "error", 1)
    if "result" not in large or len(bytes(large["args"])) < HEAD:
        assert (doc.queue, doc.priority, doc.attempt) == ("mail", 2, 4)
        assert doc.error == Raised("ValueError", "no")
        assert doc.history[-1].worker == "w-1"
    assert "evil" not in repr(msgspec.structs.replace(doc, args=raw([]), kwargs=raw({}), result=raw(1))).casefold()


JSON = st.recursive(
    st.none() | st.integers(-5, 5) | st.text(alphabet='{}[],":qnzfe\\x', max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from("tqnzfeakvlb"), inner, max_size=4),
    max_leaves=30,
)


@given(args=st.lists(JSON, max_size=5), result=JSON, pad=st.integers(0, 300))
def test_whatever_arguments_hold_is_never_taken_for_the_jobs_own(args: list[Any], result: Any, pad: int) -> None:
    filler = [args] * pad
    found = told(died(args=raw(filler or args), kwargs=raw({"k": filler}), result=raw([result] * pad)))
    if found is not None:
        doc = found.doc
        assert doc.task == "shop:send"
        assert doc.queue in ("mail", "default")
        assert doc.attempt in (0, 4)
        assert doc.reason in ("error", None)
        assert doc.error in (None, Raised("ValueError", "no"))
        assert doc.worker is None
        assert doc.finished_ms is None


@pytest.mark.parametrize(
    "body", [b"", b"{", b'{"t":', b'{"t":"x"}', b"[" * 5_000, b'{"t":7,"a":[' + b"1," * 9_000, b"\xff" * 900]
)
def test_what_is_no_document_is_nothing(body: bytes) -> None:
    data = b"1wAAAA1800000000000" + body
    found = record_of("j", Peek(data[:HEAD], len(data), data[-TAIL:]), record.header(data))
    assert found is None or found.doc.task == "x"
