"""From counters to the series that the charts draw."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aiotq.inspection.values import Counts

QUANTILES = (("p50", 0.5), ("p95", 0.95))


def series(counts: Sequence[Counts]) -> dict[str, Any]:
    """Columns of equal length: `at` in Unix seconds, numbers a period, latencies in ms (null: there were none)."""
    return {
        "at": [int(each.start.timestamp()) for each in counts],
        "enqueued": [each.enqueued for each in counts],
        "succeeded": [each.succeeded for each in counts],
        "failed": [each.failed for each in counts],
        "retried": [each.retried for each in counts],
        "lost": [each.lost for each in counts],
        **{f"waited_{name}": [_ms(each.waited.quantile_s(share)) for each in counts] for name, share in QUANTILES},
        **{f"ran_{name}": [_ms(each.ran.quantile_s(share)) for each in counts] for name, share in QUANTILES},
    }


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 3)
