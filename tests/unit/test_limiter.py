"""The budget under virtual time: spacing, order, blocks, and a cancellation in every state of a waiter."""

import asyncio
import math
import random
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from itertools import pairwise

import pytest

from marketd.errors import DatabaseUnavailable
from marketd.limiter import Budget
from marketd.model import Claim

pytestmark = pytest.mark.looptime
SPACING_S = 2.0  # of thirty requests a minute

Passed = list[tuple[str, float]]


def now() -> float:
    return asyncio.get_running_loop().time()


def passer(budget: Budget, passed: Passed) -> Callable[..., Coroutine[None, None, None]]:
    began = now()

    async def take(name: str, claim: Claim = Claim.BACKFILL, weight: int = 1, after_s: float = 0.0) -> None:
        if after_s:
            await asyncio.sleep(after_s)
        await budget.acquire(claim, weight)
        passed.append((name, round(now() - began, 3)))

    return take


def when_served(budget: Budget, waiting: int, act: Callable[[], object]) -> None:
    """Call ``act`` in the turn of the loop in which the next waiter is served, before that waiter runs."""
    loop = asyncio.get_running_loop()

    def look(turns: int = 10) -> None:
        if budget.waiting < waiting:
            act()
        elif turns:
            loop.call_soon(look, turns - 1)
        else:
            loop.call_later(1e-6, look)

    loop.call_later(SPACING_S, look)


@pytest.fixture
def passed() -> Passed:
    return []


async def test_passes_are_evenly_spaced_from_the_first_on(passed: Passed) -> None:
    budget = Budget(30)
    take = passer(budget, passed)
    async with asyncio.TaskGroup() as group:
        for number in range(31):
            group.create_task(take(str(number)))
    assert passed == [(str(number), number * SPACING_S) for number in range(31)]


async def test_idle_time_is_not_saved_up_for_a_burst(passed: Passed) -> None:
    budget = Budget(30)
    take = passer(budget, passed)
    await take("first")
    await asyncio.sleep(600)
    async with asyncio.TaskGroup() as group:
        for name in "abc":
            group.create_task(take(name))
    assert passed == [("first", 0.0), ("a", 600.0), ("b", 602.0), ("c", 604.0)]


async def test_the_lower_claim_goes_first_and_equals_go_in_order_of_arrival(passed: Passed) -> None:
    take = passer(Budget(30), passed)
    async with asyncio.TaskGroup() as group:
        group.create_task(take("opens the bucket"))
        group.create_task(take("recheck", Claim.RECHECK))
        group.create_task(take("backfill 1", Claim.BACKFILL))
        group.create_task(take("backfill 2", Claim.BACKFILL))
        group.create_task(take("repair", Claim.GAP_REPAIR))
        group.create_task(take("order", Claim.ORDER))
        group.create_task(take("continuous", Claim.CONTINUOUS, after_s=1.9))
    assert [name for name, _ in passed[1:]] == [
        "continuous", "order", "repair", "backfill 1", "backfill 2", "recheck",
    ]  # fmt: skip
    assert passed[1] == ("continuous", 2.0), "it overtakes the one that was driving the bucket"


async def test_a_request_of_weight_three_takes_three_passes(passed: Passed) -> None:
    budget = Budget(30)
    take = passer(budget, passed)
    async with asyncio.TaskGroup() as group:
        group.create_task(take("heavy", weight=3))
        group.create_task(take("light"))
    assert passed == [("heavy", 4.0), ("light", 6.0)]
    assert budget.used_last_minute == 4


async def test_a_heavy_request_that_has_begun_is_not_overtaken(passed: Passed) -> None:
    """With passes of its own in hand it would leave right after who overtook it: more than a minute allows."""
    budget = Budget(30)
    take = passer(budget, passed)
    async with asyncio.TaskGroup() as group:
        group.create_task(take("heavy", weight=2))
        group.create_task(take("behind", Claim.RECHECK, weight=2))
        group.create_task(take("live", Claim.CONTINUOUS, weight=2, after_s=1))
    assert passed == [("heavy", 2.0), ("live", 6.0), ("behind", 10.0)]


async def test_what_was_used_is_forgotten_after_a_minute(passed: Passed) -> None:
    budget = Budget(30)
    take = passer(budget, passed)
    await take("a")
    await take("b")
    assert budget.used_last_minute == 2
    await asyncio.sleep(58.5)
    assert budget.used_last_minute == 1
    await asyncio.sleep(60)
    assert budget.used_last_minute == 0


async def test_nobody_passes_during_a_block_and_the_longer_of_two_holds(passed: Passed) -> None:
    """fault_31."""
    budget = Budget(30)
    take = passer(budget, passed)
    budget.block(60)
    budget.block(10)
    assert budget.blocked_for_s == 60
    async with asyncio.TaskGroup() as group:
        for name in "ab":
            group.create_task(take(name))
        group.create_task(take("c", Claim.CONTINUOUS, after_s=30))
    assert passed == [("c", 60.0), ("a", 62.0), ("b", 64.0)]
    assert budget.blocked_for_s == 0


async def test_a_block_that_falls_while_the_head_waits_for_the_bucket_lets_no_two_pass_at_its_end(
    passed: Passed,
) -> None:
    budget = Budget(30)
    take = passer(budget, passed)
    async with asyncio.TaskGroup() as group:
        for name in "abc":
            group.create_task(take(name))
        await asyncio.sleep(1)
        budget.block(9)
    assert passed == [("a", 0.0), ("b", 10.0), ("c", 12.0)]


async def test_a_block_is_lengthened_while_somebody_waits_for_its_end(passed: Passed) -> None:
    budget = Budget(30)
    take = passer(budget, passed)
    budget.block(10)
    async with asyncio.TaskGroup() as group:
        group.create_task(take("a"))
        await asyncio.sleep(9)
        budget.block(10)
    assert passed == [("a", 19.0)]


async def test_a_block_that_falls_between_serving_and_running_still_holds(passed: Passed) -> None:
    budget = Budget(30)
    take = passer(budget, passed)
    await take("a")
    async with asyncio.TaskGroup() as group:
        group.create_task(take("drives"))
        group.create_task(take("served", Claim.ORDER))
        await asyncio.sleep(0)
        when_served(budget, 2, lambda: budget.block(10))
    assert passed == [("a", 0.0), ("served", 12.0), ("drives", 14.0)]


async def test_slowed_down_for_a_time(passed: Passed) -> None:
    budget = Budget(30)
    take = passer(budget, passed)
    await take("a")
    budget.slow_down(2, for_s=9)
    budget.slow_down(1.5, for_s=5)
    assert budget.per_minute == 15
    for name in "bcde":
        await take(name)
    assert [at for _, at in passed] == [0.0, 4.0, 8.0, 12.0, 14.0], "a wait that began slow ends slow"
    assert budget.per_minute == 30


async def test_a_slow_down_by_a_fraction(passed: Passed) -> None:
    budget = Budget(30)
    take = passer(budget, passed)
    budget.slow_down(1.5, for_s=600)
    for name in "abcd":
        await take(name)
    assert [later - earlier for (_, earlier), (_, later) in pairwise(passed)] == [3.0] * 3


async def test_another_rate_keeps_the_queue_and_makes_no_burst(passed: Passed) -> None:
    budget = Budget(30)
    take = passer(budget, passed)
    async with asyncio.TaskGroup() as group:
        for name in "abcd":
            group.create_task(take(name))
        await asyncio.sleep(2.5)
        budget.set_rate(60)
    at = [when for _, when in passed]
    assert [name for name, _ in passed] == list("abcd")
    assert all(later - earlier >= 1.0 for earlier, later in pairwise(at))
    assert at[-1] <= 7.0
    assert budget.per_minute == 60


class TestCancelled:
    """A cancelled waiter, whatever it was doing, costs the others nothing."""

    async def test_while_it_drives_the_bucket(self, passed: Passed) -> None:
        take = passer(Budget(30), passed)
        async with asyncio.TaskGroup() as group:
            group.create_task(take("a"))
            driver = group.create_task(take("driver"))
            group.create_task(take("b"))
            group.create_task(take("c"))
            await asyncio.sleep(1)
            driver.cancel()
        assert passed == [("a", 0.0), ("b", 2.0), ("c", 4.0)]

    async def test_while_it_stands_in_the_queue(self, passed: Passed) -> None:
        take = passer(Budget(30), passed)
        async with asyncio.TaskGroup() as group:
            group.create_task(take("a"))
            group.create_task(take("b"))
            waiting = group.create_task(take("waiting", Claim.ORDER))
            group.create_task(take("c"))
            await asyncio.sleep(1)
            waiting.cancel()
        assert passed == [("a", 0.0), ("b", 2.0), ("c", 4.0)]

    async def test_while_it_sits_out_a_block(self, passed: Passed) -> None:
        budget = Budget(30)
        take = passer(budget, passed)
        budget.block(10)
        async with asyncio.TaskGroup() as group:
            driver = group.create_task(take("driver"))
            group.create_task(take("b"))
            await asyncio.sleep(5)
            driver.cancel()
        assert passed == [("b", 10.0)]

    async def test_between_its_serving_and_its_running(self, passed: Passed) -> None:
        budget = Budget(30)
        take = passer(budget, passed)
        await take("a")
        async with asyncio.TaskGroup() as group:
            group.create_task(take("drives"))
            served = group.create_task(take("served", Claim.CONTINUOUS))
            group.create_task(take("next", Claim.ORDER))
            await asyncio.sleep(0)
            when_served(budget, 3, served.cancel)
        assert passed == [("a", 0.0), ("next", 2.0), ("drives", 4.0)], "the next one takes its pass"

    async def test_before_it_has_run_at_all(self, passed: Passed) -> None:
        budget = Budget(30)
        take = passer(budget, passed)
        async with asyncio.TaskGroup() as group:
            group.create_task(take("never")).cancel()
            group.create_task(take("a"))
        assert passed == [("a", 0.0)]

    async def test_with_half_of_its_weight_served(self, passed: Passed) -> None:
        take = passer(Budget(30), passed)
        async with asyncio.TaskGroup() as group:
            heavy = group.create_task(take("heavy", weight=5))
            group.create_task(take("a"))
            group.create_task(take("b"))
            await asyncio.sleep(3)
            heavy.cancel()
        assert passed == [("a", 4.0), ("b", 6.0)]

    async def test_by_a_time_out_of_its_own(self, passed: Passed) -> None:
        take = passer(Budget(30), passed)

        async def impatient() -> None:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(1):
                    await take("impatient")

        async with asyncio.TaskGroup() as group:
            group.create_task(take("a"))
            group.create_task(impatient())
            group.create_task(take("b"))
        assert passed == [("a", 0.0), ("b", 2.0)]

    async def test_all_of_them_leave_a_usable_budget(self, passed: Passed) -> None:
        budget = Budget(30)
        take = passer(budget, passed)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(take(str(number))) for number in range(20)]
            await asyncio.sleep(5)
            for task in tasks:
                task.cancel()
        assert budget.waiting == 0
        await take("after")
        assert passed[-1] == ("after", 6.0)


async def test_random_cancellations_never_break_spacing_or_strand_a_waiter() -> None:
    for seed in range(25):
        rng = random.Random(seed)
        budget = Budget(30)
        passed: Passed = []
        take = passer(budget, passed)
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(take(str(n), rng.choice(list(Claim)), rng.choice([1, 1, 2]), rng.uniform(0, 20)))
                for n in range(25)
            ]
            doomed = rng.sample(tasks, 8)
            for task in doomed:
                await asyncio.sleep(rng.choice([0, 0, 0.5, 2]))
                task.cancel()
                if rng.random() < 0.2:
                    budget.block(rng.uniform(0, 5))
        assert budget.waiting == 0
        assert len(passed) >= 17
        at = [when for _, when in passed]
        assert all(later - earlier >= SPACING_S - 0.001 for earlier, later in pairwise(at))


@dataclass
class Row:
    """Turns as the database gives them: evenly spaced, whoever takes them."""

    spacing_s: float = SPACING_S
    free_s: float = 0.0
    farthest_s: float = math.inf
    away: bool = False
    taken: list[float] = field(default_factory=list)

    async def take(self) -> float | None:
        if self.away:
            raise DatabaseUnavailable("the database is away")
        await asyncio.sleep(0.001)
        at = max(self.free_s, now())
        if at > now() + self.farthest_s:
            return None
        self.free_s = at + self.spacing_s
        self.taken.append(at)
        return at - now()


class TestShared:
    """Every pass is a turn that other programs share."""

    async def test_two_programs_pass_in_turn_at_the_rate_of_one(self, passed: Passed) -> None:
        row, began = Row(free_s=now()), now()
        one, other = (passer(Budget(30, row.take, 0.5), passed) for _ in range(2))
        async with asyncio.TaskGroup() as group:
            for number in range(30):
                group.create_task(one(f"one {number}"))
                group.create_task(other(f"other {number}"))
        at = [when for _, when in passed]
        assert all(later - earlier >= SPACING_S - 0.01 for earlier, later in pairwise(at))
        assert at[-1] <= 59 * SPACING_S / 0.98
        assert [name.split()[0] for name, _ in passed[-6:]] in (["one", "other"] * 3, ["other", "one"] * 3)
        assert len(row.taken) == 60, "none was taken for nothing"
        assert began + at[-1] <= row.free_s

    async def test_one_alone_has_the_whole_rate(self, passed: Passed) -> None:
        row = Row(free_s=now())
        take = passer(Budget(30, row.take), passed)
        async with asyncio.TaskGroup() as group:
            for number in range(31):
                group.create_task(take(str(number)))
        assert passed[-1][1] <= 60 / 0.98

    async def test_a_turn_outlives_whoever_has_taken_it(self, passed: Passed) -> None:
        row = Row(free_s=now() + 10)
        budget = Budget(30, row.take)
        take = passer(budget, passed)
        async with asyncio.TaskGroup() as group:
            driver = group.create_task(take("driver"))
            group.create_task(take("next"))
            await asyncio.sleep(5)
            driver.cancel()
        assert [name for name, _ in passed] == ["next"]
        assert passed[0][1] == pytest.approx(10, abs=0.01)
        assert len(row.taken) == 1

    async def test_a_turn_that_a_block_has_used_up_is_not_made_up_for(self, passed: Passed) -> None:
        row = Row(free_s=now() + 1)
        budget = Budget(30, row.take)
        take = passer(budget, passed)
        async with asyncio.TaskGroup() as group:
            group.create_task(take("a"))
            await asyncio.sleep(0.5)
            budget.block(60)
            await asyncio.sleep(30)
            row.free_s = now() + 40  # of another program
        assert passed[0][1] == pytest.approx(70.5, abs=0.01)
        assert len(row.taken) == 2

    async def test_where_no_turn_is_near_it_is_asked_for_again(self, passed: Passed) -> None:
        row = Row(free_s=now() + 95, farthest_s=60)
        await passer(Budget(30, row.take), passed)("a")
        assert passed[0][1] == pytest.approx(95, abs=0.01)
        assert len(row.taken) == 1

    async def test_while_turns_cannot_be_had_its_own_share_is_used(
        self, passed: Passed, caplog: pytest.LogCaptureFixture
    ) -> None:
        row = Row(free_s=now())
        take = passer(Budget(30, row.take, 0.25), passed)
        await take("shared")
        row.away = True
        for name in "abc":
            await take(name)
        row.away, row.free_s = False, 0.0
        await take("shared again")
        at = [when for _, when in passed]
        assert [later - earlier for earlier, later in pairwise(at)] == pytest.approx([8.0, 8.0, 8.0, 2.0], abs=0.01)
        assert "budget not shared" in caplog.messages
