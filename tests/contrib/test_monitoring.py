"""The dashboard, the rules and the scaling examples in docs/monitoring go by metrics that the code exports."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from aiotq.contrib.families import EXPORTED, WORKER
from aiotq.job import DEFAULT_PRIORITY, line
from aiotq.store.keys import Keys

FOLDER = Path(__file__).parents[2] / "docs" / "monitoring"
DOCS = FOLDER.parent
NAME = re.compile(r"\baiotq_[a-z_]+\b")
NO_METRICS = {"aiotq_reader", "aiotq_worker", "aiotq_operator", "aiotq_producer"}  # users of docs/acl.md
STORED = {name for family in (*EXPORTED.values(), *WORKER.values()) for name in family.samples}
# On PATH, or beside this Python: there CI puts it.
PROMTOOL = shutil.which("promtool") or shutil.which("promtool", path=str(Path(sys.executable).parent))


def expressions() -> list[str]:
    """Of the dashboard."""
    dashboard: Any = json.loads((FOLDER / "grafana.json").read_text())
    found = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", [])]
    return found + [
        variable["query"]["query"] for variable in dashboard["templating"]["list"] if variable["type"] == "query"
    ]


def scaling() -> list[str]:
    """What KEDA asks: of all queues, and of some."""
    found = re.findall(r"query: \|\n((?: {10}.*\n)+)", (FOLDER / "keda.yaml").read_text())
    assert len(found) == 2
    return found


@pytest.mark.parametrize("file", ["grafana.json", "alerts.yml", "alerts_test.yml", "keda.yaml"])
def test_each_metric_that_is_named_is_exported(file: str) -> None:
    text = "\n".join(expressions()) if file == "grafana.json" else (FOLDER / file).read_text()
    named = set(NAME.findall(text)) - NO_METRICS
    assert named
    assert named <= STORED, named - STORED


def test_the_dashboard_shows_all_that_is_exported() -> None:
    shown = set(NAME.findall("\n".join(expressions())))
    unseen = {name for name, family in EXPORTED.items() if not shown.intersection(family.samples)}
    assert unseen == {"aiotq_collect_seconds"}


def test_the_docs_list_each_metric() -> None:
    text = (DOCS / "telemetry.md").read_text()
    named = set(NAME.findall(text)) - NO_METRICS
    assert {name for family in (*EXPORTED.values(), *WORKER.values()) for name in family.samples[:1]} <= {
        *named, *(f"{name}_bucket" for name in named),
    }  # fmt: skip


def test_panels_have_ids_and_places_of_their_own() -> None:
    panels = json.loads((FOLDER / "grafana.json").read_text())["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not taken & cells, panel["title"]
        assert place["x"] + place["w"] <= 24
        taken |= cells


def test_what_keda_measures_is_a_line_as_the_store_names_it() -> None:
    [named] = re.findall(r'listName: "([^"]+)"', (FOLDER / "keda.yaml").read_text())
    assert named == f"{Keys('aiotq').prefix}line:{line('mail', DEFAULT_PRIORITY)}"


@pytest.mark.skipif(PROMTOOL is None, reason="no promtool on PATH (Debian: apt-get install prometheus)")
@pytest.mark.parametrize(
    "command", [("check", "rules", "alerts.yml"), ("test", "rules", "alerts_test.yml")], ids=" ".join
)
def test_promtool_finds_the_rules_right(command: tuple[str, ...]) -> None:
    assert PROMTOOL is not None
    said = subprocess.run([PROMTOOL, *command], cwd=FOLDER, capture_output=True, text=True, check=False)
    assert said.returncode == 0, said.stdout + said.stderr


@pytest.mark.skipif(PROMTOOL is None, reason="no promtool on PATH (Debian: apt-get install prometheus)")
def test_promtool_finds_the_expressions_of_the_dashboard_right(tmp_path: Path) -> None:
    assert PROMTOOL is not None
    rules = ["groups:", "- name: dashboard", "  rules:"]
    for number, text in enumerate([*expressions(), *scaling()]):
        if text.startswith("label_values"):
            continue
        expression = json.dumps(text.replace("$__rate_interval", "5m"))
        rules += [f"  - record: panel_{number}", f"    expr: {expression}"]
    (tmp_path / "rules.yml").write_text("\n".join(rules))
    said = subprocess.run(
        [PROMTOOL, "check", "rules", str(tmp_path / "rules.yml")], capture_output=True, text=True, check=False
    )
    assert said.returncode == 0, said.stdout + said.stderr


@pytest.mark.skipif(PROMTOOL is None, reason="no promtool on PATH (Debian: apt-get install prometheus)")
def test_workers_of_some_queues_are_scaled_by_these_alone(tmp_path: Path) -> None:
    assert PROMTOOL is not None
    jobs = {"mail": (20, 60), "reports": (0, 0), "other": (500, 500)}  # that run, and that wait
    series = {
        f'aiotq_queue_{kind}{{queue="{queue}"}}': number
        for queue, numbers in jobs.items()
        for kind, number in zip(("running", "waiting", "slots", "workers"), (*numbers, 100, 2), strict=True)
    }
    series |= {"aiotq_scheduled_due": 0, "aiotq_slots": 200, 'aiotq_workers{state="working"}': 4}
    wanted = [(scaling()[0], (20 + 60 + 500 + 500) / 200 * 4), (scaling()[1], (20 + 60) / 100 * 2)]
    test = {
        "evaluation_interval": "30s",
        "tests": [
            {
                "interval": "30s",
                "input_series": [{"series": name, "values": f"{number}x3"} for name, number in series.items()],
                "promql_expr_test": [
                    {"expr": text, "eval_time": "1m", "exp_samples": [{"labels": "{}", "value": value}]}
                    for text, value in wanted
                ],
            }
        ],
    }
    (tmp_path / "test.yml").write_text(json.dumps(test))  # which is YAML
    said = subprocess.run(
        [PROMTOOL, "test", "rules", "test.yml"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert said.returncode == 0, said.stdout + said.stderr
