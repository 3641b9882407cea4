"""Commands that a hint names: pasted into a shell, they mean what the hint meant, whatever an outsider has named."""

from __future__ import annotations

import shlex
from typing import Any

import pytest
import typer

from aiotq.cli import main as command_line
from aiotq.cli.operate.job import advice
from aiotq.cli.operate.reach import Where
from aiotq.cli.text import short_id
from aiotq.inspection.diagnosis import diagnose
from aiotq.inspection.pasting import command
from aiotq.job import JobStatus
from tests.unit import test_diagnosis as seen
from tests.unit.overviews import a_summary

EVIL = ["--all", "--yes", "-h", "--", "-x", "$(id)", "a b", "'", "-'; id"]


def parsed(line: str) -> tuple[str, dict[str, Any]]:
    """A pasted command's verb, and what it would take its words for."""
    program, verb, *words = shlex.split(line)
    assert program == "aiotq"
    command_line.load(verb)
    commands: Any = typer.main.get_command(command_line.cli)
    return verb, commands.commands[verb].make_context(verb, words).params


@pytest.mark.parametrize("name", EVIL)
def test_a_name_is_taken_for_a_name(name):
    assert parsed(command("discard", of=[name]))[1]["ids"] == [name]
    _, given = parsed(command("retry", "--url", "-u", of=["a", name]))
    assert (given["ids"], given["url"], given["everything"], given["yes"]) == (["a", name], "-u", False, False)
    assert parsed(command("resume", of=[name]))[1]["queue"] == name
    assert parsed(command("cancel", "--all", "--task", name))[1]["task"] == name


def test_a_name_like_others_stands_first():
    assert command("job", "--json", of=["a1f9c2"]) == "aiotq job a1f9c2 --json"


STALE = seen.queue("--yes", waiting=1, leftovers=1, workers=0)


@pytest.mark.parametrize(
    ("verb", "taken_for", "changes"),
    [
        ("resume", {"queue": "--yes"}, {"queues": (seen.queue("--yes", waiting=1, paused=True),)}),
        ("resume", {"queue": "--yes"}, {"queues": (seen.queue("--yes", waiting=1, paused=True, workers=0),)}),
        ("resume", {"queue": "--yes"}, {"queues": (seen.queue("--yes", waiting=1, paused=True),), "workers": ()}),
        ("purge", {"queue": "--yes", "yes": False}, {"queues": (STALE,)}),
        ("discard", {"ids": ["--all"]}, {"poison": (seen.summary(id="--all", lost=2, status=JobStatus.FAILED),)}),
        ("cancel", {"ids": ["--all"]}, {"poison": (seen.summary(id="--all", lost=2),)}),
        ("discard", {"ids": ["--all"]}, {"newer": (seen.summary(id="--all"),)}),
    ],
)
def test_a_finding_names_no_option_that_an_outsider_chose(verb, taken_for, changes):
    commands = [
        step[step.index("aiotq ") :]
        for finding in diagnose(seen.signs(**changes))
        for step in finding.hint.split("; ")
        if "aiotq " in step and "-m aiotq" not in step
    ]
    of_verb = [given for found, given in map(parsed, commands) if found == verb]
    assert of_verb
    for given in of_verb:
        assert {name: given[name] for name in taken_for} == taken_for


def test_what_is_done_next_with_a_job_is_done_with_that_job_alone():
    for line in advice(a_summary(id="--all", status=JobStatus.FAILED), Where(url="redis://h", namespace="n")):
        _, given = parsed(line.partition(": ")[2])
        assert (given["ids"], given["everything"]) == (["--all"], False)
        assert (given["url"], given["namespace"]) == ("redis://h", "n")


def test_an_end_that_is_shown_of_an_id_is_no_option():
    assert short_id("order-20260131-customer-000000000042-x") == "customer-000000000042-x"
    assert short_id("-" * 30) == "-" * 30
