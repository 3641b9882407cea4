"""All commands: their help, their loading, completion of them in a shell."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest

from aiotq.cli import main as command_line

COMMANDS = sorted(command_line.COMMANDS)
ASKING = [name for name, module in command_line.COMMANDS.items() if ".operate." in module]


@pytest.fixture
def run(monkeypatch, capsys):
    def run(*words):
        monkeypatch.setattr(sys, "argv", ["aiotq", *words])
        code = command_line.main()
        return code, *capsys.readouterr()

    return run


@pytest.mark.parametrize("name", COMMANDS)
def test_each_help_page_says_how_it_is_called_and_ends_with_an_example(run, name):
    code, out, err = run(name, "--help")
    assert (code, err) == (0, "")
    assert "Exit codes" in out
    example = out[out.rindex("Example: ") :]
    assert f"aiotq {name}" in example
    assert all(len(line) <= 104 for line in out.splitlines())


@pytest.mark.parametrize("name", ASKING)
def test_each_says_where_it_looks_and_has_json(run, name):
    _, out, _ = run(name, "-h")
    assert {"--url", "--namespace", "--app", "--json"} <= set(out.split())


def test_the_first_help_page_names_each_command(run):
    _, out, _ = run("--help")
    assert not [name for name in COMMANDS if name not in out.replace("|", " ").split()]


@pytest.mark.parametrize(
    ("said", "meant"), [("statu", "status"), ("wrokers", "workers"), ("retr", "retry"), ("job_s", "jobs")]
)
def test_a_mistyped_command_is_no_module(run, said, meant):
    code, _, err = run(said)
    assert (code, err) == (
        2,
        f"error: there is no command {said!r}, and no module of that name\ndid you mean aiotq {meant}?\n",
    )


def test_a_module_that_is_named_nearly_like_a_command_is_that_module(run, tmp_path, monkeypatch):
    (tmp_path / "statuses.py").write_text("")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("aiotq.cli.supervise.run_processes", lambda options: 0)
    assert run("statuses") == (0, "", "")


@pytest.mark.parametrize(
    "words", [("--help",), ("--version",), ("status", "--help"), ("nosuch:app",), ("completion", "bash")]
)
def test_what_asks_no_server_loads_no_redis(words):
    code = (
        "import sys; from aiotq.cli.main import main; main(); "
        "heavy = {'redis', 'rich', 'starlette', 'prometheus_client', 'opentelemetry', 'watchfiles'}; "
        "loaded = heavy & set(sys.modules); "
        "sys.exit(str(loaded) if loaded else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


# --- completion -----------------------------------------------------------------------------------------------------


@pytest.fixture
def script(run, tmp_path):
    """The completion of a shell, in a file; skips where there is no such shell."""

    def script(shell):
        if shutil.which(shell) is None:
            pytest.skip(f"no {shell} on PATH")
        code, out, err = run("completion", shell)
        assert (code, err) == (0, "")
        file = tmp_path / "_aiotq"
        file.write_text(out)
        return file

    return script


def ask(shell, code):
    done = subprocess.run([shell, "-c", code], capture_output=True, text=True, check=False, timeout=30)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.split()


@pytest.mark.parametrize(
    ("typed", "found"),
    [
        (("st",), {"status"}),
        (("re",), {"requeue", "resume", "retry"}),
        (("jobs", "--st"), {"--state"}),
        (("jobs", "--state", "s"), {"scheduled", "succeeded"}),
        (("server", "st"), {"status", "stop"}),
        (("completion", ""), {"bash", "zsh", "fish"}),
        (("hello:app", "--conc"), {"--concurrency"}),
        (("--conc",), {"--concurrency"}),
    ],
)
def test_bash_completes(script, typed, found):
    file = script("bash")
    words = " ".join(f"'{word}'" for word in typed)
    said = ask(
        "bash", f"source {file}; COMP_WORDS=(aiotq {words}); COMP_CWORD={len(typed)}; _aiotq; echo ${{COMPREPLY[@]}}"
    )
    assert found <= set(said)
    assert all(word.startswith(typed[-1]) for word in said)


# zsh completes only where somebody types: so in a shell on a terminal of its own, read until the word stands there.
ZSH = """
zmodload zsh/zpty
zpty shell TERM=dumb zsh -f -i
zpty -w shell "autoload -Uz compinit; compinit -D -u; source {file}; print rea''dy"
zpty -r shell said '*ready*' || exit 1
zpty -w -n shell $'aiotq {typed}\t'
zpty -r shell said '*{word}*' || exit 1
print -r -- $said
zpty -d shell
"""
ONE_FITS = pytest.mark.parametrize(
    ("typed", "word"), [("stat", "status"), ("jobs --sta", "--state"), ("jobs --state f", "failed")]
)


@ONE_FITS
def test_zsh_completes(script, typed, word):
    assert word in ask("zsh", ZSH.format(file=script("zsh"), typed=typed, word=word))


@ONE_FITS
def test_fish_completes(script, typed, word):
    assert word in ask("fish", f"source {script('fish')}; complete -C 'aiotq {typed}'")


@pytest.mark.parametrize("words", [("completion",), ("completion", "tcsh")])
def test_another_shell_is_a_mistake(run, words):
    code, _, err = run(*words)
    assert code == 2
    assert "run: aiotq completion bash" in err
