"""What a server's INFO comes to: holes in its script engine, keys that it may evict, a disk that it does not use."""

from __future__ import annotations

import pytest

from aiotq.errors import StoreUnusable
from aiotq.store.facts import DAY_S, forgetful, holes_closed, look
from aiotq.store.vet import clock

NOW_S = 1_800_000_000


def info(**fields: object) -> bytes:
    return "".join(f"{name}:{value}\r\n" for name, value in fields.items()).encode()


@pytest.mark.parametrize(
    ("kind", "version", "wanted"),
    [
        ("Redis", (6, 2, 14), "6.2.20"),
        ("Redis", (6, 2, 20), None),
        ("Redis", (7, 0, 15), "7.2.11"),
        ("Redis", (7, 2, 10), "7.2.11"),
        ("Redis", (7, 2, 11), None),
        ("Redis", (7, 4, 5), "7.4.6"),
        ("Redis", (7, 4, 11), None),
        ("Redis", (8, 0, 3), "8.0.4"),
        ("Redis", (8, 0, 4), None),
        ("Redis", (8, 2, 1), "8.2.2"),
        ("Redis", (8, 2, 10), None),
        ("Redis", (8, 4, 0), None),
        ("Valkey", (7, 2, 10), "7.2.11"),
        ("Valkey", (7, 2, 12), None),
        ("Valkey", (8, 0, 5), "8.0.6"),
        ("Valkey", (8, 1, 3), "8.1.4"),
        ("Valkey", (8, 1, 4), None),
        ("Valkey", (9, 0, 0), None),
        ("Valkey", (255, 255, 255), None),
        ("Redis", (), None),
    ],
)
def test_each_line_of_versions_has_its_own_end_of_the_holes(kind: str, version: tuple[int, ...], wanted: str | None):
    assert holes_closed(kind, version) == wanted


def test_a_server_with_holes_is_served_and_warned_of():
    facts = look(info(redis_version="7.2.4", maxmemory_policy="noeviction"), url="redis://h")

    assert (facts.kind, facts.version) == ("Redis", "7.2.4")
    [warning] = facts.warnings
    assert "CVE-2025-49844" in warning
    assert "7.2.11" in warning


def test_valkeys_own_version_counts_and_not_the_one_that_it_is_compatible_with():
    said = info(redis_version="7.2.4", server_name="valkey", valkey_version="9.1.2", maxmemory_policy="noeviction")

    facts = look(said, url="redis://h")

    assert (facts.kind, facts.version, list(facts.warnings)) == ("Valkey", "9.1.2", [])


@pytest.mark.parametrize("fields", [{"redis_version": "6.0.16"}, {"server_name": "valkey", "valkey_version": "7.0.1"}])
def test_a_server_that_is_too_old_is_refused(fields: dict[str, str]):
    with pytest.raises(StoreUnusable, match="newer"):
        look(info(**fields), url="redis://h")


def test_a_server_that_says_nothing_of_itself_is_not_judged():
    facts = look(b"", url="redis://h")

    assert (facts.kind, facts.version, list(facts.warnings)) == ("Redis or Valkey", "", [])


@pytest.mark.parametrize(
    ("points", "fields", "warned"),
    [
        ("", {"aof_enabled": 0}, True),
        ("", {"aof_enabled": 1}, False),
        ("3600 1", {"aof_enabled": 0}, False),
        ("", {}, False),  # a server that does not say
        (None, {"aof_enabled": 0}, False),
        (None, {"aof_enabled": 0, "rdb_changes_since_last_save": 9, "rdb_last_save_time": NOW_S - 3 * DAY_S}, True),
        (None, {"aof_enabled": 0, "rdb_changes_since_last_save": 0, "rdb_last_save_time": NOW_S - 3 * DAY_S}, False),
        (None, {"aof_enabled": 0, "rdb_changes_since_last_save": 9, "rdb_last_save_time": NOW_S - 60}, False),
    ],
)
def test_a_server_that_keeps_nothing_on_its_disk_is_warned_of(
    points: str | None, fields: dict[str, object], *, warned: bool
):
    lines = forgetful(info(**fields), points=points, now_s=NOW_S, url="redis://h")

    assert len(lines) == warned
    assert all("appendonly yes" in line for line in lines)


@pytest.mark.parametrize(
    ("server_s", "said"),
    [
        (100.0, None),
        (106.9, None),  # 5 s after the second look: the reply may have been that slow
        (107.1, "5 s ahead of this machine's"),
        (94.9, "5 s behind this machine's"),
        (95.1, None),
    ],
)
def test_a_clock_is_far_off_only_by_more_than_the_round_trip_explains(server_s: float, said: str | None):
    lines = clock(server_s, before_s=100.0, after_s=102.0, url="redis://h")

    assert len(lines) == (said is not None)
    assert said is None or said in lines[0]
