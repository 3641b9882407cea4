"""What a survey of a server means to a probe."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from aiotq.cli import health
from aiotq.cli import main as command_line
from aiotq.cli.health import judge
from aiotq.source import Source, none_runs
from aiotq.store.seen import Survey

if TYPE_CHECKING:
    from pathlib import Path

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


@pytest.mark.parametrize(
    ("words", "environment", "expected"),
    [
        (("--app", "shop_of_health:app"), {}, ("redis://127.0.0.1:1", "shop")),
        ((), {"AIOTQ_APP": "shop_of_health:app"}, ("redis://127.0.0.1:1", "shop")),
        (("--app", "shop_of_health", "--url", "redis://b", "--namespace", "other"), {}, ("redis://b", "other")),
    ],
)
def test_an_app_names_its_server_and_its_namespace(
    words: tuple[str, ...],
    environment: dict[str, str],
    expected: tuple[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "shop_of_health.py").write_text(
        "from aiotq import App\napp = App('redis://127.0.0.1:1', namespace='shop')\n", "utf-8"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "shop_of_health", raising=False)
    asked: list[tuple[str, str]] = []

    def ask_store(source: Source, namespace: str, _named: list[str], *, timeout_s: float) -> health.Asked:
        asked.append((source.url, namespace))
        return health.judge(Survey(**WELL), [])

    monkeypatch.setattr(health, "ask_store", ask_store)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "argv", ["aiotq", "health", *words])
    assert command_line.main() == 0
    assert asked == [expected]


@pytest.mark.parametrize("which", [("--health-port", "1"), ("--url", "redis://127.0.0.1:1")])
def test_whatever_time_an_answer_may_take_is_waited_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], which: tuple[str, ...]
) -> None:
    monkeypatch.setattr(sys, "argv", ["aiotq", "health", *which, "--timeout", "1e300"])
    assert command_line.main() == 1
    assert "answer" in capsys.readouterr().out


def test_an_app_that_is_not_there_is_used_wrongly(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["aiotq", "health", "--app", "nosuch_of_health:app"])
    assert command_line.main() == 2
    assert "nosuch_of_health" in capsys.readouterr().err
