from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from aiotq import job, record
from aiotq.document import Document, Unknown
from aiotq.errors import InvalidRecord, NewerRecord
from aiotq.frames import describe
from aiotq.job import Cancelled, ErrorInfo, Failed, JobStatus, Retried, Succeeded
from aiotq.shown import info, instant
from tests.unit.records import ERROR, NOW_MS, Outcome, a_record, after, plain, stored

# --- a new record


def test_a_small_job_takes_little_more_than_its_name_and_arguments() -> None:
    data = stored(Document(task="shop.tasks:send", args=Raw(b'["s-17",40]')))
    assert data == b'1wabcd1795439224123{"t":"shop.tasks:send","a":["s-17",40]}'


def test_what_is_as_usual_is_left_out_however_it_was_made() -> None:
    queue = "xdefaultx".strip("x")  # equal to the default, but another object
    document = Document(task="t", args=Raw(b"[]"), kwargs=Raw(b"{}"), queue=queue, priority=5)
    assert stored(document)[record.HEADER :] == b'{"t":"t"}'


names = st.text("abcXYZ019_.-", min_size=1, max_size=64)
counts = st.none() | st.integers(0, 2**53)
documents = st.builds(
    Document,
    task=st.text(),
    args=st.lists(st.none() | st.booleans() | st.integers() | st.text()).map(lambda v: Raw(msgspec.json.encode(v))),
    kwargs=st.dictionaries(st.text(), st.integers()).map(lambda v: Raw(msgspec.json.encode(v))),
    queue=names,
    priority=st.integers(0, 9),
    retries=counts,
    timeout_ms=counts,
    result_ttl_ms=counts,
    delay_ms=counts,
    due_ms=counts,
    expires_ms=counts,
)


@given(documents, st.text(job.GENERATION_CHARS, min_size=4, max_size=4), st.integers(0, 10**13 - 1))
def test_what_was_enqueued_is_what_is_read(document: Document, generation: str, enqueued_ms: int) -> None:
    data = stored(document, generation=generation, enqueued_ms=enqueued_ms)
    read = record.decode("j1", data)
    assert (read.job_id, read.enqueued_ms, read.size, read.state) == ("j1", enqueued_ms, len(data), "w")
    assert read.generation[1:] == generation[1:]
    assert read.status is None
    assert plain(read.doc) == plain(document)


@given(st.binary(min_size=4, max_size=4))
def test_a_generation_is_four_characters_and_never_the_mark(random: bytes) -> None:
    made = record.generation(random)
    assert len(made) == 4
    assert set(made) <= set(job.GENERATION_CHARS)


def test_generations_have_24_random_bits() -> None:
    assert len({record.generation(bytes([byte, 0, 0, 0])) for byte in range(256)}) == 64
    assert record.generation(b"\0\1\2\3") == "ABCD"


@pytest.mark.parametrize(("size", "mark"), [(job.LARGE_RECORD, "abcd"), (job.LARGE_RECORD + 1, "!bcd")])
def test_a_record_that_does_not_come_with_a_claim_is_marked(size: int, mark: str) -> None:
    around = len(stored(Document(task="t", args=Raw(b'[""]'))))
    head, body, generation = record.new(
        Document(task="t", args=Raw(b'["' + b"x" * (size - around) + b'"]')), generation="abcd"
    )
    assert len(head) + 13 + len(body) == size
    assert generation == mark
    assert head == b"1w" + mark.encode()


# --- reading


def test_a_header_is_read_whatever_the_version() -> None:
    assert record.header(b"1wabcd1795439224123{}") == (1, "w", "abcd", NOW_MS)
    assert record.header(b"7f!_-91795439224123\xff") == (7, "f", "!_-9", NOW_MS)


HEADER = b"1wabcd1795439224123"
BODY = b'{"t":"shop.tasks:send"}'


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff" * 40,
        b"0wabcd1795439224123" + BODY,
        b"xwabcd1795439224123" + BODY,
        b"1rabcd1795439224123" + BODY,
        b"1wab d1795439224123" + BODY,
        b"1wa!cd1795439224123" + BODY,
        b"1wabcd179543922412" + BODY,
        b"1wabcd+795439224123" + BODY,
        b"1wabcd1_95439224123" + BODY,
        b" 1wabcd1795439224123" + BODY,
        HEADER,
        HEADER + b"{}",
        HEADER + b"[]",
        HEADER + b"null",
        HEADER + b'{"t":5}',
        HEADER + b'{"t":"x"',
        HEADER + b'{"t":"x"} {}',
        HEADER + b'{"t":"\xff"}',
        HEADER + b'{"t":"x","task":"x"}',
        HEADER + b'{"t":"x","a":[1,}',
        HEADER + b'{"t":"x","a":' + b"[" * 100_000,
        HEADER + b'{"t":"x","q":"a:b"}',
        HEADER + b'{"t":"x","q":"mail\\n"}',
        HEADER + b'{"t":"x","q":""}',
        HEADER + b'{"t":"x","p":10}',
        HEADER + b'{"t":"x","p":-1}',
        HEADER + b'{"t":"x","p":"5"}',
        HEADER + b'{"t":"x","n":-1}',
        HEADER + b'{"t":"x","n":1.5}',
        HEADER + b'{"t":"x","u":9007199254740993}',
        HEADER + b'{"t":"x","h":[[1,2,3]]}',
        HEADER + b'{"t":"x","h":[[1,2,3,"w",null,null,null]]}',
        HEADER + b'{"t":"x","g":"!"}',
    ],
)
def test_bytes_that_are_no_record_are_refused(data: bytes) -> None:
    with pytest.raises(InvalidRecord) as caught:
        record.decode("j1", data)
    assert not isinstance(caught.value, NewerRecord)
    assert "expected" in str(caught.value)


def test_a_refused_record_says_what_its_header_says() -> None:
    with pytest.raises(InvalidRecord, match="the record of job j1 does not decode") as caught:
        record.decode("j1", HEADER + b"{}")
    assert (caught.value.generation, caught.value.enqueued_ms) == ("abcd", NOW_MS)
    with pytest.raises(InvalidRecord) as caught:
        record.decode("j1", b"garbage")
    assert (caught.value.generation, caught.value.enqueued_ms) == (None, None)


@pytest.mark.parametrize("version", [b"3", b"9"])
def test_a_record_of_a_newer_version_is_told_from_garbage(version: bytes) -> None:
    with pytest.raises(NewerRecord, match="job j1 is of version") as caught:
        record.decode("j1", version + b"wabcd1795439224123\x00what comes next is not ours to know")
    assert (caught.value.generation, caught.value.enqueued_ms) == ("abcd", NOW_MS)


@given(documents, st.data())
def test_a_damaged_record_is_read_or_refused_but_never_anything_else(document: Document, data: st.DataObject) -> None:
    whole = bytearray(stored(document))
    for _ in range(data.draw(st.integers(1, 3))):
        if not whole:
            break
        at = data.draw(st.integers(0, len(whole) - 1))
        match data.draw(st.sampled_from(["change", "drop", "cut"])):
            case "change":
                whole[at] = data.draw(st.integers(0, 255))
            case "drop":
                del whole[at]
            case _:
                del whole[at + 1 :]
    try:
        read = record.decode("j1", bytes(whole))
    except InvalidRecord:
        return
    assert info(read, JobStatus.QUEUED).id == "j1"


# --- after an outcome


def test_a_success_holds_its_result_and_one_more_attempt() -> None:
    done = after(a_record(queue="mail", priority=0), Succeeded(result=b'{"sent":1}'), lost=1)
    assert done.status is JobStatus.SUCCEEDED
    assert (done.generation, done.enqueued_ms) == ("WXYZ", NOW_MS)
    assert bytes(done.doc.result) == b'{"sent":1}'
    assert plain(done.doc) == {
        "t": "shop.tasks:send",
        "a": ["s-17", 40],
        "q": "mail",
        "p": 0,
        "n": 1,
        "h": [[1, NOW_MS + 10, NOW_MS + 30, "host-3f2a", None, None]],
        "v": {"sent": 1},
        "l": 1,
    }


def test_a_result_of_none_is_a_result_and_one_that_is_not_stored_is_none() -> None:
    assert bytes(after(a_record(), Succeeded(result=b"null")).doc.result) == b"null"
    assert after(a_record(), Succeeded(result=None)).doc.result is record.NO_RESULT


def test_a_dead_letter_holds_the_whole_error_and_its_arguments() -> None:
    dead = after(a_record(), Failed(error=ERROR), lost=2)
    assert dead.status is JobStatus.FAILED
    assert bytes(dead.doc.args) == b'["s-17",40]'
    assert (dead.doc.reason, dead.doc.attempt, dead.doc.lost) == ("error", 1, 2)
    assert plain(dead.doc)["e"] == ["ValueError", "no Bobs", [["hello.py", 9, "greet", "raise ValueError"]]]


def test_a_retry_waits_again_with_one_attempt_used() -> None:
    waiting = after(a_record(delay_ms=60_000), Retried(delay_ms=5, error=ERROR), due_ms=NOW_MS + 35, lost=1)
    assert waiting.status is None
    assert (waiting.doc.attempt, waiting.attempt) == (1, 2)
    assert (waiting.doc.due_ms, waiting.doc.delay_ms) == (NOW_MS + 35, 60_000)
    assert waiting.doc.lost == 0, "the store counts losses while a job lives"
    assert waiting.doc.reason is None


def test_a_retry_that_made_a_record_large_is_marked() -> None:
    long = ErrorInfo(type="ValueError", message="x" * job.LARGE_RECORD)
    data = record.after(
        a_record(), Retried(delay_ms=1, error=long), generation="abcd", worker="w", started_ms=1, finished_ms=2
    )
    assert data[2:6] == b"!bcd"


def test_the_history_keeps_the_last_ten_attempts_with_short_errors() -> None:
    waiting = a_record()
    for number in range(1, 13):
        error = ErrorInfo(type="ValueError", message=f"{number} " + "x" * 600, frames=ERROR.frames)
        waiting = after(waiting, Retried(delay_ms=1, error=error), due_ms=NOW_MS)
    assert [past.number for past in waiting.doc.history] == list(range(3, 13))
    assert {len(past.error_message or "") for past in waiting.doc.history} == {record.MAX_PAST_MESSAGE}
    assert waiting.doc.error is not None
    assert len(waiting.doc.error.message) == 603
    assert waiting.doc.attempt == 12


def test_a_success_after_a_failure_keeps_the_error_that_came_before() -> None:
    done = after(after(a_record(), Retried(delay_ms=1, error=ERROR), due_ms=NOW_MS), Succeeded(result=b"1"))
    assert done.doc.error is not None
    assert [past.error_type for past in done.doc.history] == ["ValueError", None]


def test_a_running_job_that_is_cancelled_has_used_its_attempt() -> None:
    ended = after(a_record(), Cancelled())
    assert ended.status is JobStatus.CANCELLED
    assert (ended.doc.reason, ended.doc.attempt, ended.doc.error) == ("cancelled", 1, None)
    assert [past.error_type for past in ended.doc.history] == [record.CANCELLED]


@pytest.mark.parametrize("outcome", [Cancelled(reason="expired"), Failed(error=ERROR, reason="unknown task")])
def test_a_job_that_is_decided_without_an_attempt_has_used_none(outcome: Outcome) -> None:
    ended = after(a_record(), outcome, started_ms=None)
    assert (ended.doc.attempt, ended.doc.history) == (0, ())
    assert (ended.doc.finished_ms, ended.doc.worker) == (NOW_MS + 30, "host-3f2a")


def test_a_queued_job_that_is_cancelled_was_in_no_workers_hands() -> None:
    data = record.cancelled(a_record(), reason="cancelled", generation="WXYZ", finished_ms=NOW_MS + 5, lost=1)
    ended = record.decode("j1", data)
    assert ended.status is JobStatus.CANCELLED
    assert (ended.doc.reason, ended.doc.worker, ended.doc.lost) == ("cancelled", None, 1)
    assert bytes(ended.doc.args) == b'["s-17",40]'
    assert ended.generation == "WXYZ"


def test_a_job_of_an_unknown_task_is_put_back_and_counted() -> None:
    once = after(a_record(), Retried(delay_ms=1, error=ERROR, counts=False), started_ms=None, due_ms=NOW_MS + 31)
    assert once.status is None
    assert once.doc.unknown == Unknown(1, NOW_MS + 30)
    assert (once.doc.attempt, once.doc.history, once.doc.error, once.doc.due_ms) == (0, (), None, NOW_MS + 31)
    twice = record.decode("j1", record.postponed(once, generation="WXYZ", now_ms=NOW_MS + 99, due_ms=NOW_MS + 100))
    assert twice.doc.unknown == Unknown(2, NOW_MS + 30)
    assert after(twice, Succeeded(result=b"1")).doc.unknown is None


def test_a_record_of_a_newer_version_is_put_back_as_it_is() -> None:
    data = b"2wabcd1795439224123\x00\xffnot ours"
    assert record.regenerated(data, "WXYZ") == b"2wWXYZ1795439224123\x00\xffnot ours"
    assert record.regenerated(data + b"x" * job.LARGE_RECORD, "WXYZ")[:6] == b"2w!XYZ"


@pytest.mark.parametrize(
    ("data", "enqueued_ms"),
    [(HEADER + b"{}", NOW_MS), (b"\x00\xffgarbage", NOW_MS + 5), (b"", NOW_MS + 5), (b"x" * 100_000, NOW_MS + 5)],
)
def test_bytes_that_do_not_decode_become_a_dead_letter_that_keeps_them(data: bytes, enqueued_ms: int) -> None:
    letter = record.undecodable(
        "j1", data, generation="WXYZ", now_ms=NOW_MS + 5, queue="mail", priority=2, worker="host-3f2a", lost=1
    )
    dead = record.decode("j1", letter)
    assert dead.status is JobStatus.FAILED
    assert dead.doc.raw == data[: record.MAX_RAW]
    shown = info(dead, None)
    assert (shown.queue, shown.priority, shown.reason, shown.lost) == ("mail", 2, "invalid record", 1)
    assert shown.enqueued_at == instant(enqueued_ms)
    assert shown.finished_at == instant(NOW_MS + 5)
    assert shown.worker == "host-3f2a"
    assert shown.error is not None
    assert "job j1 does not decode" in shown.error.message


def test_a_dead_letter_of_garbage_says_what_reading_it_raised() -> None:
    with pytest.raises(InvalidRecord) as caught:
        record.decode("j1", b"garbage")
    error = describe(caught.value)
    dead = record.decode("j1", record.undecodable("j1", b"garbage", generation="abcd", now_ms=1, error=error))
    shown = info(dead, None)
    assert shown.error is not None
    assert shown.error.type == "InvalidRecord"
    assert "the record begins with b'garbage'" in shown.error.message


outcomes = st.one_of(
    st.builds(Succeeded, result=st.none() | st.just(b"[1]")),
    st.builds(Failed, error=st.just(ERROR), reason=st.text()),
    st.builds(Retried, delay_ms=st.integers(0, 10**6), error=st.just(ERROR), counts=st.booleans()),
    st.builds(Cancelled, reason=st.text()),
)


@given(documents, st.lists(st.tuples(outcomes, st.booleans()), min_size=1, max_size=15))
def test_no_outcome_changes_what_was_asked_for(document: Document, life: list[tuple[Outcome, bool]]) -> None:
    now = record.decode("j1", stored(document))
    used = 0
    for outcome, started in life:
        used += started and not (isinstance(outcome, Retried) and not outcome.counts)
        started_ms = NOW_MS + 10 if started else None
        now = after(now, outcome, started_ms=started_ms, due_ms=NOW_MS + 40)
        assert now.doc.attempt == used
        assert len(now.doc.history) == min(used, 10)
        assert now.enqueued_ms == NOW_MS
        info(now, None)
    changing = {"u", "n", "h", "e", "w", "v", "z", "l", "f", "b"}
    assert {key: value for key, value in plain(now.doc).items() if key not in changing} == {
        key: value for key, value in plain(document).items() if key not in changing
    }


# --- when it expires


def test_a_job_expires_so_long_after_it_was_enqueued() -> None:
    assert record.expires_at_ms(a_record(expires_ms=500)) == NOW_MS + 500
    assert record.expires_at_ms(a_record(expires_ms=0)) == NOW_MS
    assert record.expires_at_ms(a_record()) is None


def test_a_job_that_has_been_tried_expires_no_more() -> None:
    tried = after(a_record(expires_ms=500), Retried(delay_ms=1, error=ERROR), due_ms=NOW_MS)
    assert record.expires_at_ms(tried) is None
