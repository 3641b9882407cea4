"""Times since a moment, and whether something came in them."""

from __future__ import annotations

import time

from aiotq.inspection.arrivals import AHEAD_MS, after

YEAR_MS = 365 * 24 * 3_600_000


def test_what_is_not_known_came_at_no_time_however_long_ago_the_moment_was() -> None:
    times = after(0, YEAR_MS)
    began_s = time.process_time()
    assert all(None not in times for _ in range(1_000))
    assert time.process_time() - began_s < 1


def test_times_begin_behind_the_moment_and_end_as_far_ahead_as_clocks_may_be() -> None:
    times = after(1_000, 2_000)
    assert [at for at in (0, 1_000, 1_001, 2_000 + AHEAD_MS, 2_001 + AHEAD_MS) if at in times] == [1_001, 3_000]
