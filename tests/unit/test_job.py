from __future__ import annotations

import re
import uuid
from collections import deque
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiotq import job
from aiotq.job import MOVES, JobStatus, Ticket

ARCHITECTURE = Path(__file__).parents[2] / "ARCHITECTURE.md"

MS = st.integers(0, 2**48 - 1)
ENTROPY = st.binary(min_size=10, max_size=10)
QUEUE = st.text("abcXYZ019_.-", min_size=1, max_size=64)
JOB_ID = st.text("abcXYZ019_.:-", min_size=1, max_size=128)
GENERATION = st.text(job.GENERATION_CHARS + job.LARGE, min_size=4, max_size=4)


@pytest.mark.parametrize(
    ("status", "ended"),
    [
        (JobStatus.SCHEDULED, False),
        (JobStatus.QUEUED, False),
        (JobStatus.RUNNING, False),
        (JobStatus.SUCCEEDED, True),
        (JobStatus.FAILED, True),
        (JobStatus.CANCELLED, True),
    ],
)
def test_three_states_are_an_end(status: JobStatus, *, ended: bool) -> None:
    assert status.ended is ended


def test_each_state_has_its_row_in_the_table_of_moves() -> None:
    assert set(MOVES) == set(JobStatus)


def test_the_table_of_moves_is_the_one_that_is_drawn() -> None:
    drawn: dict[JobStatus, frozenset[JobStatus]] = dict.fromkeys(JobStatus, frozenset())
    for start, moves in re.findall(r"^\| (\w+) \| (.+) \|$", ARCHITECTURE.read_text("utf-8"), re.MULTILINE):
        if start in set(JobStatus):
            drawn[JobStatus(start)] = frozenset(map(JobStatus, re.sub(r" \(.*?\)", "", moves).split(", ")))
    assert drawn == MOVES


def test_an_end_is_left_by_a_dead_letter_only() -> None:
    assert {status for status in JobStatus if status.ended and MOVES[status]} == {JobStatus.FAILED}


def test_every_state_can_be_reached_and_every_job_can_end() -> None:
    def reachable(start: JobStatus) -> set[JobStatus]:
        seen, waiting = {start}, deque([start])
        while waiting:
            for following in MOVES[waiting.popleft()] - seen:
                seen.add(following)
                waiting.append(following)
        return seen

    assert reachable(JobStatus.SCHEDULED) == set(JobStatus)
    assert all(any(status.ended for status in reachable(start)) for start in JobStatus)


def test_nothing_runs_that_was_not_queued() -> None:
    assert {start for start, following in MOVES.items() if JobStatus.RUNNING in following} == {JobStatus.QUEUED}


@given(MS, ENTROPY)
def test_an_id_is_a_uuid_of_version_7_that_holds_its_time(now_ms: int, random: bytes) -> None:
    made = job.job_id(now_ms, random)
    parsed = uuid.UUID(made)
    assert made == parsed.hex
    assert (parsed.version, parsed.variant) == (7, uuid.RFC_4122)
    assert parsed.int >> 80 == now_ms


@given(MS, MS, ENTROPY, ENTROPY)
def test_ids_sort_by_their_time(first_ms: int, second_ms: int, one: bytes, other: bytes) -> None:
    if first_ms < second_ms:
        assert job.job_id(first_ms, one) < job.job_id(second_ms, other)


@given(st.sets(ENTROPY, min_size=2, max_size=20))
def test_all_but_six_of_the_random_bits_are_in_the_id(randoms: set[bytes]) -> None:
    kept = {int.from_bytes(random, "big") & ~(0xF << 76) & ~(0x3 << 62) for random in randoms}
    assert len({job.job_id(0, random) for random in randoms}) == len(kept)


def test_a_job_that_goes_to_the_front_has_a_letter_for_its_priority() -> None:
    assert [job.line("mail", priority) for priority in job.PRIORITIES][:2] == ["mail:0", "mail:1"]
    assert job.line("mail", 0, lifo=True) == "mail:a"
    assert job.line("mail", 9, lifo=True) == "mail:j"
    assert len({job.line("mail", p, lifo=lifo) for p in job.PRIORITIES for lifo in (False, True)}) == 20


@given(QUEUE, st.sampled_from([*"0123456789", *job.FRONT, job.SUSPECT]), GENERATION, JOB_ID)
def test_a_ticket_is_taken_apart_into_what_it_was_made_of(queue: str, place: str, generation: str, job_id: str) -> None:
    parsed = job.parse_ticket(job.ticket(f"{queue}:{place}", generation, job_id))
    assert parsed == Ticket(queue, place, generation, job_id)
    assert parsed.line == f"{queue}:{place}"
    assert parsed.suspect is (place == "s")


def test_a_ticket_says_for_which_line_it_is_and_whether_its_job_is_a_suspect() -> None:
    ordinary, suspect = job.parse_ticket("mail:b:AAAA:j1"), job.parse_ticket("mail:s:AAAA:j1")
    assert (ordinary.line, ordinary.suspect) == ("mail:b", False)
    assert (suspect.line, suspect.suspect) == ("mail:s", True)


def test_the_mark_of_a_large_record_is_no_character_of_a_generation() -> None:
    assert job.LARGE not in job.GENERATION_CHARS
    assert len(set(job.GENERATION_CHARS)) == 64
