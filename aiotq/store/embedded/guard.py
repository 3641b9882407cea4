# ruff: noqa: PTH105, PTH110, PTH116, PTH118, PTH123, PTH208  pathlib would cost it 2 MB
# ruff: noqa: T201  it speaks to its starter by print
# ruff: noqa: TID251  it is a process of its own, without an event loop
"""The guardian: a small process of its own that starts an embedded server, watches it and ends it.

Run as a plain script (`python -I -S guard.py ...`), so it imports nothing of aiotq and little else: 9 MB, and
one short look a second. Its life:

    take `server.lock`, or adopt the server that holds it     a guardian before this one was killed
    start the server, wait until it answers, say "ready"      on standard output, to whoever started the guardian
    look once a second: who is connected?                     and bring to disk what the server has written
    nobody for LINGER_S: SHUTDOWN, reap it, end

It inherits `guard.lock` from its starter and holds it for life; the server inherits `server.lock` from it. Both are
flocks, which the kernel drops with the last process that has them open, however that one ends: so there is never more
than one guardian, nor more than one server, on a directory. If the guardian is killed, Linux ends the server in good
order (`end_with_guardian`); elsewhere it runs on until the next `ensure` starts a guardian that adopts it.
"""

from __future__ import annotations

import fcntl
import os
import select
import socket
import sys
import time

GUARD_LOCK = "guard.lock"
SERVER_LOCK = "server.lock"
ADDRESS = "address"  # a file that holds the path of the socket, for processes with another TMPDIR or XDG_RUNTIME_DIR
LOG = "server.log"
MAX_LOG_BYTES = 1 << 20

GRACE_S = 10.0  # from the start, for the first client to come
LINGER_S = 2.0  # from when the last client was seen; with one look a second it is gone 3 s after that
LOOK_EVERY_S = 1.0
ADOPT_S = 30.0  # how long a server that has no guardian may be silent
PR_SET_PDEATHSIG, SIGKILL, SIGTERM = 1, 9, 15  # `import signal` would cost more than the three numbers


class StartFailed(Exception):
    """The server did not start. The text is the end of its log."""


class Line:
    """A connection to a server, in the few words of its protocol that are needed here.

    Every method raises OSError once the server has gone, or has been silent for `timeout_s`.
    """

    def __init__(self, address: str, *, timeout_s: float | None = None) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(timeout_s)
        try:
            self._socket.connect(address)
        except OSError:
            self._socket.close()
            raise
        self._replies = self._socket.makefile("rb")

    def ask(self, command: str) -> str:
        """The reply as text: a bulk string's content, else its line with the leading `+`, `-` or `:`."""
        self._socket.sendall(command.encode() + b"\r\n")
        head = self._replies.readline()
        if not head.endswith(b"\r\n"):
            raise ConnectionResetError("the server closed the connection")
        if head[:1] != b"$":
            return head[:-2].decode(errors="replace")
        return self._replies.read(int(head[1:]) + 2)[:-2].decode(errors="replace")

    def info(self, section: str) -> dict[str, str]:
        """One section of INFO. Empty when the server is busy with a script."""
        return dict(line.split(":", 1) for line in self.ask(f"INFO {section}").splitlines() if ":" in line)

    def ended(self, wait_s: float) -> bool:
        """Whether the server ends within `wait_s`. Nothing comes unasked, so what can be read then is the end."""
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        return bool(poll.poll(wait_s * 1000))

    def close(self) -> None:
        """Close the connection."""
        self._replies.close()
        self._socket.close()


def take_lock(path: str) -> int | None:
    """The descriptor of an exclusive flock; None if somebody has it. Raises OSError where there can be none."""
    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if is_same_file(lock, path):
            return lock
    except BlockingIOError:
        pass
    except OSError:
        os.close(lock)
        raise
    os.close(lock)
    return None


def is_same_file(descriptor: int, path: str) -> bool:
    """Whether the path still names the open file: False once somebody deleted or moved the directory."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except OSError:
        return False


class Guardian:
    """One server on one directory, from its start to its end."""

    def __init__(self, directory: str, *, guard_lock: int) -> None:
        self._directory = directory
        self._guard_lock = guard_lock
        self._child: int | None = None  # None: adopted
        self._come: str | None = None  # how many connections there had been when it was first reached
        self._synced: dict[str, int] = {}  # size of each append-only file when it was last brought to disk
        self._log = self._open_log()

    def start(self, binary: str, address: str) -> Line:
        """Start the server, or adopt the one that runs. Raises StartFailed."""
        deadline = time.monotonic() + ADOPT_S
        while (lock := take_lock(self._path(SERVER_LOCK))) is None:
            if line := self._reach(self._read_address()):
                return line
            if time.monotonic() > deadline:
                raise StartFailed(f"the server that holds {self._path(SERVER_LOCK)} does not answer")
            time.sleep(0.02)  # a lock and a socket of another process at once: nothing waits for both
        self._write_address(address)
        log_start = os.fstat(self._log).st_size
        guardian, self._child = os.getpid(), os.fork()
        if self._child == 0:
            self._become_server(binary, address, lock, guardian)
        os.close(lock)
        while not (line := self._reach(address)):
            if os.waitpid(self._child, os.WNOHANG)[0]:
                raise StartFailed(os.pread(self._log, MAX_LOG_BYTES, log_start).decode(errors="replace"))
            time.sleep(0.005)  # its socket is not there yet, and says nothing when it comes
        return line

    def watch(self, line: Line) -> None:
        """Until the server has ended: by itself, or because nobody needs it. Raises ConnectionError if it vanishes."""
        pid = self._child or int(line.info("server")["process_id"])
        address, come = self._read_address(), self._come
        end_at = time.monotonic() + GRACE_S
        while not line.ended(LOOK_EVERY_S):
            if not is_same_file(self._guard_lock, self._path(GUARD_LOCK)):
                # Its directory was deleted or moved, and a new one may have a server by now. SIGKILL, as an orderly
                # end would remove the socket's file, which may be the other's. What it has written is with the files.
                os.kill(pid, SIGKILL)
                continue
            self._sync()
            others = int(line.info("clients").get("connected_clients", "2")) - 1
            before, come = come, line.info("stats").get("total_connections_received")
            now = time.monotonic()
            if others or before != come:  # who came and went between two looks was a client, too
                end_at = now + LINGER_S
            if now >= end_at or not os.path.exists(address):  # without its socket nobody could ever come again
                line.ask("SHUTDOWN")  # refused if it can't save: it is asked again after the next look

    def reap(self) -> None:
        """Wait for the server's process."""
        if self._child:
            os.waitpid(self._child, 0)

    def leave_starter(self) -> None:
        """From here on what this process has to say goes to the server's log."""
        os.dup2(self._log, 1)
        os.dup2(self._log, 2)

    def _become_server(self, binary: str, address: str, lock: int, guardian: int) -> None:
        """In the child: never returns."""
        try:
            end_with_guardian(guardian)
            os.set_inheritable(lock, True)
            os.dup2(self._log, 1)
            os.dup2(self._log, 2)
            os.execv(binary, [binary, *server_options(self._directory, address)])  # noqa: S606  no shell is the point
        except OSError as error:
            os.write(2, f"can't run {binary}: {error.strerror}\n".encode())
        finally:
            os._exit(127)

    def _reach(self, address: str) -> Line | None:
        """A connection to the server, if it is ready to serve."""
        try:
            line = Line(address)
        except OSError:
            return None
        try:
            if line.ask("PING") == "+PONG":
                self._come = line.info("stats").get("total_connections_received")
                return line
        except OSError:
            pass
        line.close()
        return None

    def _sync(self) -> None:
        """Bring to disk what the server has appended since the last look.

        The server writes before it answers, and leaves the disk to us (`appendfsync no`). With `everysec` it would hold
        its writes back in its own memory while an fsync of its own is under way, and lose them if it is killed then.
        """
        for folder in (self._path("appendonlydir"), self._directory):  # Redis 6 has no folder for it
            try:
                names = [name for name in os.listdir(folder) if name.endswith(".aof")]
            except FileNotFoundError:
                continue
            for name in names:
                self._sync_file(os.path.join(folder, name))

    def _sync_file(self, path: str) -> None:
        try:
            size = os.stat(path).st_size
            if self._synced.get(path, 0) == size:
                return
            file = os.open(path, os.O_RDONLY)
        except FileNotFoundError:  # rewritten
            self._synced.pop(path, None)
            return
        try:
            os.fsync(file)
            self._synced[path] = size
        except OSError as error:
            print(f"can't bring {path} to disk: {error}", file=sys.stderr)  # in the log; tried again at the next look
        finally:
            os.close(file)

    def _open_log(self) -> int:
        path = self._path(LOG)
        if os.path.exists(path) and os.stat(path).st_size > MAX_LOG_BYTES:
            os.replace(path, path + ".old")
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def _read_address(self) -> str:
        try:
            with open(self._path(ADDRESS), encoding="utf-8", errors="surrogateescape") as file:
                return file.read()
        except FileNotFoundError:
            return ""

    def _write_address(self, address: str) -> None:
        """In one step, as others read it at any time."""
        with open(self._path(ADDRESS + ".new"), "w", encoding="utf-8", errors="surrogateescape") as file:
            file.write(address)
        os.replace(self._path(ADDRESS + ".new"), self._path(ADDRESS))

    def _path(self, name: str) -> str:
        return os.path.join(self._directory, name)


def server_options(directory: str, address: str) -> list[str]:
    """What the server is told. All that it does not say is the server's default."""
    options = {
        "port": "0",
        "unixsocket": address,
        "unixsocketperm": "700",
        "dir": directory,
        "appendonly": "yes",
        "appendfsync": "no",  # see Guardian._sync
        "aof-load-truncated": "yes",
        "aof-use-rdb-preamble": "no",  # so that another server (Redis 7 from PATH) can read the directory, too
        "save": "",
        "maxmemory-policy": "noeviction",
        "daemonize": "no",
        "logfile": "",  # standard output, which is the log
    }
    return [word for name, value in options.items() for word in (f"--{name}", value)]


def end_with_guardian(guardian: int) -> None:
    """On Linux: have the kernel send SIGTERM to this process, the server, when the guardian (a pid) dies."""
    if sys.platform != "linux":
        return
    try:
        import ctypes  # noqa: PLC0415  in the child, where exec throws it away: the guardian itself stays small

        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, SIGTERM, 0, 0, 0)
    except (ImportError, OSError, AttributeError):
        return  # as elsewhere: the next guardian adopts it
    if os.getppid() != guardian:
        os._exit(1)  # it died before the call


def main(directory: str, address: str, binary: str, guard_lock: int) -> None:
    """Guard a server. `guard_lock`: the descriptor of the flock, inherited from the starter."""
    if os.fork():
        os._exit(0)  # the starter reaps this one at once; the guardian itself is nobody's child
    os.set_inheritable(guard_lock, False)
    os.umask(0o077)
    os.chdir("/")
    try:
        guardian = Guardian(directory, guard_lock=guard_lock)
        line = guardian.start(binary, address)
    except (StartFailed, OSError) as error:
        print(error, flush=True)
        sys.exit(1)
    try:
        print("ready", flush=True)
    except BrokenPipeError:
        pass  # the starter was killed; others are waiting
    guardian.leave_starter()
    try:
        guardian.watch(line)
    except ConnectionError:
        pass  # it ended between two words
    guardian.reap()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]))
