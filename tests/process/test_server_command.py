"""`aiotq server status | stop`, as processes of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import closing

import pytest

from aiotq.store import embedded
from aiotq.store.embedded import guard
from tests.process.embedded_rig import end, servers
from tests.processes import PATH

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")


@pytest.fixture
def folder(server_folder):
    yield server_folder.resolve()
    end(server_folder.resolve() / ".aiotq")


def run(folder, *words, **environ):
    settings = {name: value for name, value in os.environ.items() if not name.startswith("AIOTQ_")}
    return subprocess.run(
        [sys.executable, "-m", "aiotq", "server", *words],
        cwd=folder,
        env={**settings, "PYTHONPATH": PATH, **environ},
        capture_output=True,
        text=True,
        check=False,
    )


def test_status_of_no_server_is_exit_code_1(folder):
    done = run(folder, "status")
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout == "no server runs in .aiotq/; the first process that needs it starts it\n"
    assert not (folder / ".aiotq").exists()
    done = run(folder, "status", "--json")
    assert done.returncode == 1
    assert json.loads(done.stdout) == {"running": False, "directory": str(folder / ".aiotq")}


def test_status_shows_what_runs(folder):
    with closing(guard.Line(embedded.ensure(folder / ".aiotq"))) as client:
        client.ask("SET key value")
        done = run(folder, "status")
        facts = json.loads(run(folder, "status", "--json").stdout)
    assert (done.returncode, done.stderr) == (0, "")
    assert "built-in Valkey 9." in done.stdout
    assert " in .aiotq/\n" in done.stdout
    assert "1 key," in done.stdout
    [pid] = servers(folder / ".aiotq")
    assert (facts["running"], facts["pid"], facts["clients"], facts["keys"]) == (True, pid, 1, 1)
    assert facts["directory"] == str(folder / ".aiotq")


def test_stop_ends_it_and_says_who_was_there(folder):
    with closing(guard.Line(embedded.ensure(folder / ".aiotq"))):
        done = run(folder, "stop")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("stopped Valkey 9.")
    assert "1 client was connected; whoever still needs the server starts it again" in done.stdout
    assert not servers(folder / ".aiotq")
    done = run(folder, "stop")
    assert (done.returncode, done.stdout) == (1, "no server runs in .aiotq/\n")


def test_stop_as_json(folder):
    embedded.ensure(folder / ".aiotq")
    [pid] = servers(folder / ".aiotq")
    done = run(folder, "stop", "--json")
    directory = str(folder / ".aiotq")
    assert json.loads(done.stdout) == {"stopped": True, "directory": directory, "pid": pid, "clients": 0}
    assert json.loads(run(folder, "stop", "--json").stdout)["stopped"] is False


@pytest.mark.parametrize(
    ("words", "environ"),
    [
        (["--url", "embedded://.aiotq"], {}),
        ([], {"AIOTQ_URL": "embedded://.aiotq"}),
        (["--url", "embedded://.aiotq"], {"AIOTQ_URL": "embedded://elsewhere"}),
        ([], {"AIOTQ_URL": "redis://localhost:1"}),
    ],
)
def test_the_url_is_taken_from_the_option_then_the_environment_then_the_default(folder, words, environ):
    embedded.ensure(folder / ".aiotq")
    assert run(folder, "status", *words, **environ).returncode == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["status", "--url", "redis://localhost"], "does not begin with embedded://"),
        (["stop", "--url", "redis://localhost"], "does not begin with embedded://"),
        (["status", "--nonsense"], "no such option"),
        (["nonsense"], "nonsense"),
        ([], "run: aiotq server status\nor: aiotq server stop"),
    ],
)
def test_wrong_use_is_exit_code_2(folder, words, said):
    done = run(folder, *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("words", [["-h"], ["status", "--help"], ["stop", "-h"]])
def test_each_help_ends_with_an_example(folder, words):
    done = run(folder, *words)
    assert done.returncode == 0
    assert any(line.lstrip().startswith("Example: ") for line in done.stdout.rstrip().splitlines()[-3:])
