"""benchmarks/results.py, compare.py, goals.py, table.py: from lines of figures to words."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from benchmarks.catalogue import UsageError
from benchmarks.compare import comparison, verdict
from benchmarks.gate import judged, record
from benchmarks.goals import fastest, verdicts
from benchmarks.items import quantile
from benchmarks.results import Sum, Writer, new_file, read
from benchmarks.table import cell, number, report

if TYPE_CHECKING:
    from pathlib import Path


def of(*values: float, pings: float = 1_000) -> Sum:
    return Sum(values=values, pings=(pings,) * len(values))


@pytest.fixture
def writer(tmp_path: Path) -> Writer:
    writer = Writer(tmp_path / "results" / "a.jsonl")
    writer.line("run", at="today", cores=2, server="Redis 7")
    for peer, kind in (("aiotq", "asyncio"), ("saq", "asyncio"), ("dramatiq", "processes")):
        writer.line("peer", peer=peer, at=kind, versions={peer: "1.0"}, setup="defaults")
    return writer


def figure(writer: Writer, peer: str, name: str, *values: float, ping_s: float = 1_000) -> None:
    for value in values:
        writer.line("figure", peer=peer, figure=name, value=value, ping_s=ping_s, round=1)


def test_a_figure_is_the_median_with_lowest_and_highest():
    assert cell(of(3, 1, 2)) == "2 (1 – 3)"
    assert cell(of(5)) == "5"
    assert cell(None) == "–"


@pytest.mark.parametrize(("value", "text"), [(12_345.6, "12,346"), (12.345, "12.3"), (1.234, "1.23"), (0, "0")])
def test_numbers_have_three_digits_that_say_something(value, text):
    assert number(value) == text


def test_a_ratio_to_ping_is_that_of_each_minute_and_not_of_the_medians():
    assert Sum(values=(100, 300, 800), pings=(100, 100, 200)).per_ping == 3


def test_quantiles_are_by_nearest_rank():
    assert [quantile([4, 1, 3, 2], share) for share in (0.25, 0.5, 0.99)] == [1, 2, 4]


def test_each_line_is_on_disk_at_once_and_a_line_cut_off_is_left_out(writer):
    figure(writer, "saq", "drain", 1, 2)
    with writer.path.open("a") as file:
        file.write('{"kind": "figure", "peer": "sa')
    assert read(writer.path).figures["saq", "drain"].values == (1, 2)


def test_an_interrupted_run_says_so_in_its_table(writer):
    writer.line("interrupted", after_s=3)
    assert "interrupted" in report(read(writer.path))


def test_a_file_that_is_no_result_file_is_named(tmp_path):
    (tmp_path / "b.jsonl").write_text("hello\nyou\n")
    with pytest.raises(UsageError, match=r"b\.jsonl is no result file"):
        read(tmp_path / "b.jsonl")


def test_a_file_that_is_not_there_names_those_that_are(writer):
    with pytest.raises(UsageError, match=r"no result file .*c\.jsonl; the latest there are: a\.jsonl"):
        read(writer.path.with_name("c.jsonl"))


def test_two_runs_of_one_second_have_two_files(tmp_path):
    first = new_file(tmp_path)
    first.touch()
    assert new_file(tmp_path) != first


def test_a_peer_that_fails_is_in_the_table_with_its_error(writer):
    figure(writer, "aiotq", "drain", 100)
    figure(writer, "saq", "drain", 10)
    writer.line("error", peer="saq", item="latency", error="TimeoutError: too late", round=1)
    figure(writer, "aiotq", "latency_p50", 1)
    text = report(read(writer.path))
    assert "| start latency, idle, p50, ms | 1 | fails |" in text
    assert "- **saq**, latency: TimeoutError: too late" in text


def test_a_peer_that_is_absent_is_in_the_table_with_the_reason(writer):
    writer.line("absent", peer="rq", why="rq did not install: no such version")
    assert "- **rq** took no part: rq did not install: no such version" in report(read(writer.path))


def test_goals_are_computed_from_the_same_run(writer):
    figure(writer, "aiotq", "drain", 20_000, 21_000, 22_000)
    figure(writer, "saq", "drain", 1_000)
    figure(writer, "dramatiq", "drain", 3_000)
    figure(writer, "aiotq", "latency_p50", 3)
    figure(writer, "saq", "latency_p50", 2)
    found = {(goal.figure, goal.goal): goal for goal in verdicts(read(writer.path))}
    assert found["drain, no-op jobs", "≥ 20 × the fastest asyncio peer (stretch 30 ×)"].met is True
    assert found["drain, no-op jobs", "≥ 10 × the fastest peer of any kind"].met is False
    assert found["drain, no-op jobs", "≥ 5 for each PING of bare redis-py"].met is True
    assert found["start latency, idle, p50", "below every asyncio peer's"].met is False
    assert found["import aiotq", "≤ 0.15 s"].met is None


def test_growth_is_judged_from_its_curve(writer):
    for point, value in ((20_000, 100), (1_000_000, 80)):
        for what in ("drain, jobs/s",):
            writer.line("growth", curve="jobs queued", what=what, point=point, value=value, ping_s=10, round=1)
    [flat] = [goal for goal in verdicts(read(writer.path)) if goal.figure == "drain as the queue grows"]
    assert flat.met is False
    assert flat.measured.startswith("-20%")


def test_a_variant_of_aiotq_is_no_peer(writer):
    writer.line("peer", peer="aiotq-uvloop", at="asyncio", versions={}, setup="")
    figure(writer, "aiotq-uvloop", "drain", 9_999)
    figure(writer, "saq", "drain", 10)
    assert fastest(read(writer.path), "drain", "any") == ("saq", 10)


@pytest.mark.parametrize(
    ("first", "second", "more", "word"),
    [
        (of(1, 2, 3), of(4, 5, 6), True, "better"),
        (of(1, 2, 3), of(4, 5, 6), False, "worse"),
        (of(1, 2, 5), of(4, 5, 6), True, "within the spread"),
        (of(1), of(4, 5, 6), True, "one value only"),
    ],
)
def test_two_files_differ_if_their_spreads_do_not_overlap(first, second, more, word):
    assert verdict(first, second, more=more) == word


def test_a_comparison_has_ratios_and_ratios_for_each_ping(writer, tmp_path):
    figure(writer, "aiotq", "drain", 100, 110, 120, ping_s=10)
    other = Writer(tmp_path / "b.jsonl")
    other.line("run", at="tomorrow")
    figure(other, "aiotq", "drain", 200, 220, 240, ping_s=10)
    text = comparison(read(writer.path), read(other.path))
    assert (
        "| aiotq | drain, no-op jobs, jobs/s | 110 (100 – 120) | 220 (200 – 240) | 2.00 × | 2.00 × | better |" in text
    )


def test_the_gate_fails_below_half_of_the_record_and_says_by_how_much():
    lines, met = judged({"drain": 2.4}, {"drain": 5})
    assert not met
    assert lines == [
        "drain                    2.40 for each PING, 5.00 on record  TOO SLOW: at least 2.50 was expected"
    ]
    assert judged({"drain": 2.5}, {"drain": 5})[1]


def test_a_gate_without_a_record_says_how_to_make_one(tmp_path):
    with pytest.raises(UsageError, match="gate --record"):
        record(tmp_path / "baseline.json")
