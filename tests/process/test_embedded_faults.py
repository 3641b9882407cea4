"""What an embedded server must survive: kills at every moment, deleted and damaged files, folders of others."""

from __future__ import annotations

import fcntl
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import closing

import pytest

from aiotq.errors import EmbeddedUnavailable, StoreRefused, StoreUnavailable
from aiotq.store import embedded
from aiotq.store.embedded import guard
from tests.process.embedded_rig import (
    ask,
    end,
    eventually,
    finish,
    go,
    guardians,
    holders,
    kept,
    kill,
    said,
    servers,
    starter,
)

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")


@pytest.fixture
def directory(server_folder):
    folder = server_folder.resolve() / "data"
    yield folder
    end(folder)


def fill(directory, count=100):
    """Store some keys, kill the server, and return its append-only file."""
    with closing(guard.Line(embedded.ensure(directory))) as client:  # which keeps it from ending by itself
        assert all(client.ask(f"SET key-{number} {number}") == "+OK" for number in range(count))
        [server] = servers(directory)
        kill(server)
    eventually(lambda: not holders(directory))
    return directory / "appendonlydir" / "appendonly.aof.1.incr.aof"


# --- kills --------------------------------------------------------------------------------------------------------

MOMENTS = {
    "with the lock in its hand": "embedded._start = die",
    "before the guardian": "embedded._run_guardian = die",
    "as soon as the guardian runs": "embedded.select.poll = die",
    "when the server answers": "embedded.address = die",
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_starter_that_is_killed_leaves_one_server_to_the_next(directory, moment):
    doomed, other = starter(directory, MOMENTS[moment]), starter(directory)
    go(doomed)
    go(other)
    pid = said(other)
    assert {pid} == {str(server) for server in servers(directory)}
    assert len(guardians(directory)) == 1
    assert finish(doomed) in (0, -signal.SIGKILL)  # 0: the other one was first
    assert finish(other) == 0


@pytest.mark.parametrize("after_ms", [0, 5, 10, 15, 20, 30, 40, 60])
def test_a_starter_that_is_killed_at_any_time_leaves_one_server_to_the_next(directory, after_ms):
    doomed = starter(directory)
    go(doomed)
    time.sleep(after_ms / 1000)  # the moment of the fault, not a wait for something
    doomed.kill()
    with kept(directory) as address:
        assert ask(address, "PING") == ["+PONG"]
        assert len(servers(directory)) == 1
        assert len(guardians(directory)) == 1
    finish(doomed)


@pytest.mark.parametrize("after_ms", [0, 10, 20, 30, 50])
def test_a_guardian_that_is_killed_at_any_time_is_replaced(directory, after_ms):
    other = starter(directory)
    go(other)
    eventually(lambda: guardians(directory) - {other.pid})
    time.sleep(after_ms / 1000)  # the moment of the fault, not a wait for something
    for guardian in guardians(directory) - {other.pid}:
        kill(guardian)
    told = said(other)
    assert told == "" or told.isdigit()  # nothing, if its server was ending just then: whoever asks then asks again
    finish(other)
    eventually(lambda: answers(directory))


def answers(directory):
    try:
        return ask(embedded.ensure(directory), "PING") == ["+PONG"]
    except OSError:  # it was ending when it was found: the kernel tells it of its guardian's end, and it takes 0.1 s
        return False


def test_a_killed_server_is_started_again_with_nothing_lost(directory):
    with closing(guard.Line(embedded.ensure(directory))) as client:
        for number in range(1, 5_001):
            assert client.ask("INCR counter") == f":{number}"
        [server] = servers(directory)
        kill(server)
        with pytest.raises(OSError):
            client.ask("PING")
    assert ask(embedded.ensure(directory), "GET counter") == ["5000"]
    assert servers(directory) != {server}


def test_what_is_answered_is_in_the_file_whatever_the_disk_is_doing(directory):
    """With `appendfsync everysec` it is not, while the server waits for the disk: a kill would lose it."""
    with closing(guard.Line(embedded.ensure(directory))) as client:
        client._socket.sendall(b"CONFIG GET appendfsync\r\n")
        assert [client._replies.readline() for _ in range(5)][-1] == b"no\r\n"
        file = directory / "appendonlydir" / "appendonly.aof.1.incr.aof"
        for number in range(500):
            client.ask(f"SET key {number}")
            assert file.read_bytes().endswith(f"\r\n{number}\r\n".encode())


def test_the_server_ends_in_good_order_when_its_guardian_is_killed(directory):
    ask(embedded.ensure(directory), "SET key value")
    [guardian] = guardians(directory)
    kill(guardian)
    eventually(lambda: not holders(directory))
    assert "ready to exit" in (directory / guard.LOG).read_text()
    assert ask(embedded.ensure(directory), "GET key") == ["value"]


def test_a_server_without_guardian_gets_a_new_one(directory):
    """As on macOS after its guardian was killed; here it is started by hand."""
    embedded.prepare(directory)
    address = str(directory / "server.sock")
    (directory / guard.ADDRESS).write_text(address)
    lock = os.open(directory / guard.SERVER_LOCK, os.O_RDWR | os.O_CREAT)
    fcntl.flock(lock, fcntl.LOCK_EX)
    binary = embedded.find_server()
    command = [str(binary), *guard.server_options(str(directory), address)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, pass_fds=(lock,)) as process:
        os.close(lock)
        eventually(lambda: embedded.status(directory))
        assert embedded.ensure(directory) == address
        assert servers(directory) == {process.pid}
        assert len(guardians(directory)) == 1
        assert ask(address, "PING") == ["+PONG"]
        eventually(lambda: process.poll() is not None)  # its last client has gone


def test_a_child_forked_while_the_lock_is_held_does_not_hold_it(directory):
    code = f"""
import os, sys
from pathlib import Path
from aiotq.store import embedded
directory = Path({str(directory)!r})
embedded.prepare(directory)
lock = embedded._take_lock(directory)
reading, writing = os.pipe()
forked, told = os.pipe()
if os.fork() == 0:
    os.close(writing)
    os.write(told, b"!")
    os.read(reading, 1)  # until the parent ends
    os._exit(0)
os.read(forked, 1)
embedded._drop_lock(lock)
sys.exit(embedded._take_lock(directory) is None)
"""
    subprocess.run([sys.executable, "-c", code], check=True)


# --- files --------------------------------------------------------------------------------------------------------


def test_half_a_command_at_the_end_of_the_file_is_dropped(directory):
    file = fill(directory)
    os.truncate(file, file.stat().st_size - 5)
    assert ask(embedded.ensure(directory), "DBSIZE") == [":99"]


@pytest.mark.parametrize("tail", [b"\0" * 4096, b"\x13\x37 not a command\r\n"])
def test_a_damaged_end_of_the_file_is_cut_off_and_kept(directory, tail, caplog):
    file = fill(directory)
    file.write_bytes(file.read_bytes() + tail)
    damaged = file.read_bytes()
    with caplog.at_level(logging.WARNING, "aiotq"):
        assert ask(embedded.ensure(directory), "DBSIZE") == [":100"]
    [kept] = directory.glob("damaged-*")
    assert kept.read_bytes() == damaged
    assert str(kept) in caplog.text


def test_much_damage_is_left_to_a_person(directory):
    file = fill(directory)
    file.write_bytes(b"damage\r\n" + b"\0" * (1 << 20) + file.read_bytes())
    damaged = file.read_bytes()
    with pytest.raises(EmbeddedUnavailable, match="Bad file format"):
        embedded.ensure(directory)
    assert file.read_bytes() == damaged
    assert not list(directory.glob("damaged-*"))


def test_a_directory_deleted_under_a_running_server_gets_a_new_server(directory):
    with closing(guard.Line(embedded.ensure(directory))) as client:
        [old] = servers(directory)
        directory.rename(directory.with_name("gone"))
        address = embedded.ensure(directory)
        assert servers(directory) != {old}
        assert client.ended(5), "the old one has nothing to serve any more"
    assert ask(address, "PING") == ["+PONG"], "and takes nothing of the new one with it"
    eventually(lambda: not holders(directory.with_name("gone")))


def test_a_socket_deleted_under_a_running_server_comes_back(directory):
    with closing(guard.Line(embedded.ensure(directory))) as client:
        client.ask("SET key value")
        (directory / "server.sock").unlink()
        assert ask(embedded.ensure(directory), "GET key") == ["value"]
        with pytest.raises(OSError):
            client.ask("PING")


def test_the_log_does_not_grow_for_ever(directory):
    embedded.prepare(directory)
    (directory / guard.LOG).write_bytes(b"x" * (guard.MAX_LOG_BYTES + 1))
    embedded.ensure(directory)
    assert (directory / guard.LOG).stat().st_size < 100_000


# --- what can't be ------------------------------------------------------------------------------------------------


def test_a_directory_that_may_not_be_written_is_refused(server_folder):
    server_folder.chmod(0o500)
    if root := os.geteuid() == 0:
        os.seteuid(65534)  # root may write everywhere
    try:
        with pytest.raises(EmbeddedUnavailable, match=r"can't be used \(Permission denied\).*name another one"):
            embedded.ensure(server_folder / "data")
    finally:
        if root:
            os.seteuid(0)
        server_folder.chmod(0o700)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
def test_a_directory_of_somebody_else_is_refused(directory):
    directory.mkdir()
    os.chown(directory, 65534, 65534)
    with pytest.raises(EmbeddedUnavailable, match="belongs to the user with id 65534"):
        embedded.ensure(directory)


def test_a_directory_with_other_files_is_refused_and_left_as_it_is(directory):
    directory.mkdir(mode=0o755)
    (directory / "precious").write_text("mine")
    with pytest.raises(EmbeddedUnavailable, match="holds other files"):
        embedded.ensure(directory)
    assert [file.name for file in directory.iterdir()] == ["precious"]
    assert directory.stat().st_mode & 0o777 == 0o755
    (directory / "precious").unlink()


def test_a_file_in_the_place_of_the_directory_is_refused(server_folder):
    (server_folder / "data").write_text("")
    with pytest.raises(EmbeddedUnavailable, match="File exists"):
        embedded.ensure(server_folder / "data")


@pytest.mark.parametrize("planted", ["symlink", "open to all"])
def test_a_runtime_folder_that_others_may_have_touched_is_refused(server_folder, monkeypatch, planted):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(server_folder))
    if planted == "symlink":
        (server_folder / "theirs").mkdir()
        (server_folder / "aiotq").symlink_to(server_folder / "theirs")
    else:
        (server_folder / "aiotq").mkdir()
        (server_folder / "aiotq").chmod(0o777)
    with pytest.raises(EmbeddedUnavailable, match="not a folder of yours alone"):
        embedded.ensure(server_folder / ("x" * 120))


def test_a_program_that_is_no_server_is_named(directory, monkeypatch, server_folder):
    program = server_folder / "valkey-server"
    program.write_text("#!/nonexistent\n")
    program.chmod(0o700)
    monkeypatch.setattr(embedded, "find_server", lambda: program)
    with pytest.raises(EmbeddedUnavailable, match=f"can't run {program}"):
        embedded.ensure(directory)


def test_a_server_that_does_not_answer_is_waited_for_no_longer_than_asked(directory):
    with kept(directory):
        [server] = servers(directory)
        os.kill(server, signal.SIGSTOP)
    try:
        started = time.monotonic()
        with pytest.raises(StoreUnavailable, match=r"did not answer in 0.5 s"):
            embedded.ensure(directory, wait_s=0.5)
        assert time.monotonic() - started < 3
        with pytest.raises(StoreUnavailable, match="does not answer"):
            embedded.status(directory)
        with pytest.raises(StoreUnavailable, match="does not answer"):
            embedded.stop(directory, wait_s=0.2)
    finally:
        os.kill(server, signal.SIGCONT)


def test_a_server_busy_with_a_script_is_one_that_runs_but_can_not_be_stopped(directory):
    address = embedded.ensure(directory)
    with closing(guard.Line(address)) as client, closing(guard.Line(address)) as rescue:
        client._socket.sendall(b"CONFIG SET busy-reply-threshold 10\r\n")
        assert client._replies.readline() == b"+OK\r\n"
        script = threading.Thread(target=lambda: client.ask('EVAL "while true do end" 0'))
        script.start()
        eventually(lambda: rescue.ask("PING").startswith("-BUSY"))
        assert embedded.ensure(directory) == address
        with pytest.raises(StoreRefused, match="BUSY"):
            embedded.stop(directory)
        with pytest.raises(StoreUnavailable):
            embedded.status(directory)
        assert rescue.ask("SCRIPT KILL") == "+OK"
        script.join()
