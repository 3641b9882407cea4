"""What all rules of the state machine share: a store and its model, a clock, and what callers remember."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, ClassVar, TypeVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from tests.model.hands import Stamps
from tests.model.rig import Pair

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiotq.store.contract import NewJob, Replacement
    from tests.model.hands import Hand, Request
    from tests.model.rig import Rig

START_MS = 1_800_000_000_000
LEASE_MS = 15_000
DICE = st.integers(0, 9_999)
LOSSES = st.sampled_from(["", "", "", "reply", "request"])
ON_THE_WAY = 12  # requests that may still come
T = TypeVar("T")


class Life(RuleBasedStateMachine):
    """Each rule gives one verb to both, and compares all keys.

    Hypothesis picks rules evenly, so rare things share a rule, and the common ones have several.

    A set's members come out of Redis in no order (SPOP), so two runs of the same steps may differ a little. Hypothesis
    must not notice: what it draws depends on no state. So no rule has a precondition, and what a rule picks from the
    state of that moment it picks by a die that was cast before.
    """

    rig: ClassVar[Rig]

    def __init__(self) -> None:
        super().__init__()
        self.pair = Pair(self.rig)
        self.model, self.store, self.run = self.pair.model, self.pair.store, self.pair.run
        self.now_ms = START_MS
        self.stamps = Stamps()
        self.jobs: dict[str, NewJob] = {}  # the last one sent of each id
        self.line_of: dict[str, str] = {}
        self.hands: list[Hand] = []
        self.gone: list[Hand] = []  # workers that have said goodbye, or died
        self.born = 0  # workers so far
        self.made = 0  # ids so far
        self.sent: list[Request] = []
        self.over: set[str] = set()  # tickets of attempts whose outcome was stored
        self.reads: dict[str, tuple[str, str]] = {}  # what somebody read of a job, some time ago
        self.replacements: list[Replacement] = []
        self.on_the_way: list[Callable[[], object]] = []
        self.tokens_stay = False

    def send(self, request: Callable[[], T], *, lose: str = "") -> T | None:
        """Give a verb to both, now or later. lose: the "request" (nothing happens now), or the "reply" to it (None).

        Either may have been sent again by then, or be held up somewhere: it comes once more, or for the first time,
        whatever has happened meanwhile.
        """
        self.on_the_way = [*self.on_the_way[1 - ON_THE_WAY :], request]
        if lose == "request":
            return None
        got = request()
        return None if lose == "reply" else got

    @rule(die=DICE)
    def any_request_comes_late_or_twice(self, die: int) -> None:
        if self.on_the_way:
            self.cast(die).choice(self.on_the_way)()

    @initialize(tokens_stay=st.booleans())
    def tokens(self, *, tokens_stay: bool) -> None:
        """tokens_stay: nobody takes tokens; else they are taken before each verb, so that each verb's own are seen."""
        self.tokens_stay = tokens_stay

    @staticmethod
    def cast(die: int) -> Random:
        """Choices that depend on the die alone."""
        return Random(die)

    def before(self) -> None:
        if not self.tokens_stay:
            self.pair.take_tokens()

    @rule(ms=st.sampled_from([1, 499, 1_000, 4_000, LEASE_MS, LEASE_MS + 1, -1_000, -20_000]))
    def time_passes_or_steps_back(self, ms: int) -> None:
        self.now_ms += ms
