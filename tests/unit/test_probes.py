"""The server of /livez and /readyz: what it answers, and what no caller can do to it."""

from __future__ import annotations

import asyncio
import resource
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from aiotq import probes
from aiotq.health import WELL, Health

HOST = "127.0.0.1"


class Port:
    """A server, and what it says."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.health = WELL

    def look(self) -> Health:
        if self.health is None:
            raise RuntimeError("no")
        return self.health

    def connect(self, timeout_s: float = 5) -> socket.socket:
        return socket.create_connection((HOST, self.number), timeout=timeout_s)

    def ask(self, request: bytes) -> bytes:
        """Send, and read to the end."""
        with closing(self.connect()) as line:
            line.sendall(request)
            return read(line)

    def get(self, path: str) -> tuple[int, str]:
        head, _, body = self.ask(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode()).partition(b"\r\n\r\n")
        return int(head.split()[1]), body.decode()


def read(line: socket.socket) -> bytes:
    """To the end; one that is cut off is at its end too."""
    said = b""
    try:
        while more := line.recv(4096):
            said += more
    except ConnectionResetError:
        pass
    return said


@contextmanager
def serving(port: Port, listening: socket.socket) -> Iterator[Port]:
    with probes.answering(listening, port.look):
        yield port


@pytest.fixture
def port() -> Iterator[Port]:
    listening = probes.listen(HOST, 0)
    with serving(Port(listening.getsockname()[1]), listening) as made:
        yield made


def test_it_says_ok_on_one_line_with_headers_that_keep_it_from_being_stored(port):
    answer = port.ask(b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n")
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.split(b"\r\n") == [
        b"HTTP/1.1 200 OK",
        b"Content-Type: text/plain; charset=utf-8",
        b"Content-Length: 3",
        b"Cache-Control: no-store",
        b"X-Content-Type-Options: nosniff",
        b"Connection: close",
    ]
    assert body == b"ok\n"
    assert port.get("/livez") == (200, "ok\n")


def test_one_that_lives_and_is_not_ready_says_so_on_one_page_alone(port):
    port.health = Health(live=True, ready=False, reason="the store is away")
    assert port.get("/livez") == (200, "ok\n")
    assert port.get("/readyz?verbose") == (503, "the store is away\n")
    port.health = Health(live=False, ready=False, reason="ended")
    assert port.get("/livez") == (503, "ended\n")
    assert port.get("/readyz") == (503, "ended\n")


def test_head_is_answered_without_a_body_and_other_methods_and_pages_are_refused(port):
    assert port.ask(b"HEAD /livez HTTP/1.0\r\n\r\n").endswith(b"\r\n\r\n")
    assert port.ask(b"HEAD /livez HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.1 200")
    for request, status in [
        (b"POST /livez HTTP/1.1\r\nContent-Length: 4\r\n\r\nbody", b"405"),
        (b"GET / HTTP/1.1\r\n\r\n", b"404"),
        (b"GET /livez/../readyz HTTP/1.1\r\n\r\n", b"404"),
        (b"GET /../../etc/passwd HTTP/1.1\n\n", b"404"),
    ]:
        assert port.ask(request).split()[1] == status
    assert b"passwd" not in port.ask(b"GET /../../etc/passwd HTTP/1.1\n\n")


def test_a_mistake_of_ours_is_not_ready_and_said_once(port, caplog):
    port.health = None
    assert port.get("/readyz") == (503, "unknown\n")
    assert port.get("/livez") == (503, "unknown\n")
    assert len(caplog.records) == 1


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x00\xff\x16\x03\x01" * 100 + b"\n",
        b"\r\n\r\n",
        b"GET\n\n",
        b"GET /livez\r\n",
        b"GET /livez SPDY/9\r\n",
        b"\n" * 9,
    ],
    ids=repr,
)
def test_garbage_is_refused_at_once(port, garbage):
    assert port.ask(garbage).split()[1] == b"400"
    assert port.get("/readyz") == (200, "ok\n")


@pytest.mark.parametrize("start", [b"GET /", b"\xff", b"GET /livez HTTP/1.1\r\nX: "], ids=repr)
def test_a_request_of_a_mebibyte_is_read_no_further_than_it_needs_to_be(port, start):
    with closing(port.connect()) as line:
        sent = 0
        try:
            line.sendall(start)
            for _ in range(1024):
                line.sendall(b"A" * 1024)
                sent += 1024
        except OSError:  # it is not read, and its connection ended
            pass
        assert read(line) == b"" or sent
    assert port.get("/readyz") == (200, "ok\n")


def test_one_who_sends_nothing_is_ended_in_time(port, monkeypatch):
    monkeypatch.setattr(probes, "WITHIN_S", 0.1)
    for start in (b"", b"GET /li"):
        began_s = time.monotonic()
        with closing(port.connect()) as line:
            line.sendall(start)
            assert read(line) == b""
        assert time.monotonic() - began_s < 4


def test_one_who_sends_a_byte_at_a_time_does_not_get_longer(port, monkeypatch):
    monkeypatch.setattr(probes, "WITHIN_S", 0.2)
    with closing(port.connect()) as line, pytest.raises(OSError):
        for _ in range(500):
            line.sendall(b"G")
            line.settimeout(0.02)
            try:
                if not line.recv(1):
                    raise ConnectionResetError
            except TimeoutError:
                pass


def test_one_who_does_not_read_the_answer_is_ended_in_time(port, monkeypatch):
    monkeypatch.setattr(probes, "WITHIN_S", 0.1)
    with closing(port.connect()) as line:
        line.sendall(b"GET /livez HTTP/1.1\r\n\r\n")
        assert port.get("/readyz") == (200, "ok\n")


def test_a_thousand_connections_keep_nobody_out_and_take_few_descriptors(port):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 4096)), hard))
    idle = [port.connect() for _ in range(1000)]
    try:
        assert port.get("/readyz") == (200, "ok\n")
        here = len(list(Path("/proc/self/fd").iterdir())) - len(idle)
        assert here < 3 * probes.MAX_CONNECTIONS + probes.BACKLOG + 100
    finally:
        for line in idle:
            line.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert port.get("/livez") == (200, "ok\n")


def test_the_oldest_of_too_many_is_the_one_that_is_ended(port):
    idle = [port.connect() for _ in range(probes.MAX_CONNECTIONS + 1)]
    try:
        assert read(idle[0]) == b""
        idle[-1].sendall(b"GET /livez HTTP/1.1\r\n\r\n")
        assert read(idle[-1]).startswith(b"HTTP/1.1 200")
    finally:
        for line in idle:
            line.close()


async def test_it_answers_while_the_event_loop_is_blocked(port):
    answers: list[tuple[int, str]] = []
    asking = threading.Thread(target=lambda: answers.append(port.get("/livez")))
    asking.start()
    asking.join(5)  # this blocks the loop that the test runs on
    assert answers == [(200, "ok\n")]
    await asyncio.sleep(0)


def test_its_port_is_free_once_it_has_ended_although_callers_are_connected():
    listening = probes.listen(HOST, 0)
    port = Port(listening.getsockname()[1])
    with serving(port, listening):
        line = port.connect()
        port.get("/livez")
    assert read(line) == b""
    line.close()
    probes.listen(HOST, port.number).close()


def test_a_port_that_is_taken_is_an_error_and_the_address_is_told_as_a_url():
    with closing(probes.listen(HOST, 0)) as listening:
        number = listening.getsockname()[1]
        assert probes.address_of(listening) == f"http://{HOST}:{number}"
        with pytest.raises(OSError, match=r"[Aa]ddress already in use"):
            probes.listen(HOST, number)


def test_at_all_addresses_of_both_kinds():
    if not socket.has_dualstack_ipv6():
        pytest.skip("no IPv6 here")
    listening = probes.listen("::", 0)
    with serving(Port(listening.getsockname()[1]), listening) as port:
        assert probes.address_of(listening) == f"http://[::]:{port.number}"
        assert port.get("/livez") == (200, "ok\n")
