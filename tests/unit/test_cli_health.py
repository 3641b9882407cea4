"""What a survey of a server means to a probe."""

from __future__ import annotations

from aiotq.cli.health import judge
from aiotq.source import Source, none_runs
from aiotq.store.seen import Survey

WELL = {"ping_s": 0.001, "workers": {"w": ["mail"]}, "queues": {"mail": True}}


def test_a_server_that_refuses_every_new_job_is_not_well() -> None:
    assert judge(Survey(**WELL), []).healthy
    full = judge(Survey(**WELL, full=True), [])
    assert not full.healthy
    assert full.facts["full"] is True
    assert full.lines[-1] == full.facts["reason"] == "the server is full: it refuses every new job"


def test_where_nobody_has_named_a_server_it_is_said_how_to() -> None:
    said = none_runs(Source(url="embedded://", origin="built-in"))
    assert said.startswith("no built-in server runs: embedded:// (from built-in); no URL was given")
    assert "--url or AIOTQ_URL" in said
    assert "no URL was given" not in none_runs(Source(url="embedded://x", origin="AIOTQ_URL"))
