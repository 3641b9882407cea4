"""The server's clock, as far as replies tell it."""

from __future__ import annotations

import pytest

from aiotq.worker import clock
from aiotq.worker.clock import ServerClock

NOW_MS = 1_800_000_000_000


class Host:
    """A host's monotonic clock, in seconds."""

    now_s = 500.0


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> type[Host]:
    monkeypatch.setattr(Host, "now_s", 500.0)
    monkeypatch.setattr(clock, "monotonic", lambda: Host.now_s)
    return Host


def test_before_the_first_reply_nothing_is_known(host: type[Host]) -> None:
    server = ServerClock()
    host.now_s += 10
    assert server.now_ms() == 0


def test_after_a_reply_time_goes_on_by_itself(host: type[Host]) -> None:
    server = ServerClock()
    server.set(NOW_MS, sent_at_s=host.now_s)
    host.now_s += 2.5
    assert server.now_ms() == NOW_MS + 2_500


def test_a_slow_reply_does_not_set_the_clock_back(host: type[Host]) -> None:
    server = ServerClock()
    server.set(NOW_MS, sent_at_s=host.now_s)
    sent_at_s = host.now_s
    host.now_s += 0.2  # the server looked at its clock at once; the reply was long on its way
    server.set(NOW_MS, sent_at_s=sent_at_s)
    assert server.now_ms() == NOW_MS + 200


def test_a_quicker_reply_sets_it_forward(host: type[Host]) -> None:
    server = ServerClock()
    sent_at_s = host.now_s
    host.now_s += 0.2
    server.set(NOW_MS, sent_at_s=sent_at_s)  # 200 ms behind, and nobody can know
    host.now_s += 1
    server.set(NOW_MS + 1_200, sent_at_s=host.now_s)
    assert server.now_ms() == NOW_MS + 1_200


@pytest.mark.parametrize("step_ms", [-3_600_000, 3_600_000])
def test_a_step_of_the_servers_clock_is_followed(host: type[Host], step_ms: int) -> None:
    server = ServerClock()
    server.set(NOW_MS, sent_at_s=host.now_s)
    host.now_s += 1
    server.set(NOW_MS + 1_000 + step_ms, sent_at_s=host.now_s - 0.01)
    assert abs(server.now_ms() - (NOW_MS + 1_000 + step_ms)) <= 11


def test_many_replies_add_up_to_no_drift(host: type[Host]) -> None:
    server = ServerClock()
    for number in range(10_000):
        server.set(NOW_MS + number, sent_at_s=host.now_s - 0.0005)
        host.now_s += 0.001
    assert abs(server.now_ms() - (NOW_MS + 10_000)) <= 2
