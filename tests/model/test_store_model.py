"""The store and its model live the same random life and may never disagree.

Every script in any order, with workers that die, freeze past their lease and come back, with replies that are lost and
requests that come twice or late, with compare-and-set racing claims, with a clock that steps back, and with garbage.

AIOTQ_MODEL_EXAMPLES=5000 lets it run longer.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.model.people import People
from tests.model.rig import Rig
from tests.model.senders import Senders
from tests.model.trouble import Trouble
from tests.model.workers import Workers

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.servers import Server

EXAMPLES = int(os.environ.get("AIOTQ_MODEL_EXAMPLES", "200"))
STEPS = 60


class Machine(Senders, Workers, Trouble, People):
    """All rules."""


@pytest.fixture
def rig(valkey: Server) -> Iterator[Rig]:
    made = Rig(valkey.url)
    yield made
    made.close()


@pytest.mark.timeout(1_800)  # finding the shortest way to a difference takes time
def test_the_store_and_its_model_never_disagree(rig: Rig) -> None:
    Machine.rig = rig
    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            deadline=None,
            database=None,
            print_blob=True,
            report_multiple_bugs=False,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
            phases=[Phase.generate, Phase.shrink],
        ),
    )
