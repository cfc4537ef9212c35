"""Calls that come together are carried out together, and none is lost or spoilt by another."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from marketd.errors import DatabaseUnavailable, StoreError
from marketd.store.together import MOST, LeftOut, Together, reads


@dataclass
class Desk:
    """Doubles numbers; notes what was asked for together, and what alone."""

    together: list[list[int]] = field(default_factory=list)
    alone: list[int] = field(default_factory=list)
    left_out: frozenset[int] = frozenset()
    failures: list[Exception] = field(default_factory=list)
    free: asyncio.Event = field(default_factory=asyncio.Event)

    async def all_of(self, numbers: Sequence[int]) -> Sequence[int | LeftOut]:
        self.together.append(list(numbers))
        await self.free.wait()
        if self.failures:
            raise self.failures.pop(0)
        return [LeftOut() if number in self.left_out else 2 * number for number in numbers]

    async def one(self, number: int) -> int:
        self.alone.append(number)
        await asyncio.sleep(0)
        return 2 * number


async def begun(desk: Desk, numbers: Sequence[int]) -> list[asyncio.Task[int]]:
    """The calls, of which the first is under way."""
    together = Together(desk.all_of, desk.one)
    tasks = [asyncio.create_task(together(number)) for number in numbers]
    await asyncio.sleep(0)
    return tasks


async def told(tasks: Sequence["asyncio.Task[int]"]) -> list[int | BaseException]:
    return await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 5)


async def test_those_that_come_while_one_is_under_way_are_the_next_ones() -> None:
    desk = Desk()
    tasks = await begun(desk, range(5))
    desk.free.set()
    assert await told(tasks) == [0, 2, 4, 6, 8]
    assert (desk.together, desk.alone) == ([[0], [1, 2, 3, 4]], [])


async def test_no_more_are_carried_out_together_than_is_allowed() -> None:
    desk = Desk()
    tasks = await begun(desk, range(MOST + 3))
    desk.free.set()
    assert await told(tasks) == [2 * number for number in range(MOST + 3)]
    assert list(map(len, desk.together)) == [1, MOST, 2]


async def test_what_is_left_out_is_done_alone() -> None:
    desk = Desk(left_out=frozenset({0, 2}))
    tasks = await begun(desk, range(4))
    desk.free.set()
    assert await told(tasks) == [0, 2, 4, 6]
    assert desk.alone == [0, 2]


@pytest.mark.parametrize(
    "error", [StoreError("one of you is wrong", "23505"), DatabaseUnavailable("somebody else's lock", "55P03")]
)
async def test_what_fails_for_several_is_done_for_each_alone(error: Exception) -> None:
    desk = Desk()
    tasks = await begun(desk, range(4))
    desk.free.set()
    await asyncio.sleep(0)
    desk.failures = [error]
    assert await told(tasks) == [0, 2, 4, 6]
    assert desk.alone == [1, 2, 3]


@pytest.mark.parametrize("error", [StoreError("refused"), ValueError("a mistake of ours")])
async def test_what_fails_for_one_is_told_to_that_one(error: Exception) -> None:
    desk = Desk(failures=[error])
    tasks = await begun(desk, range(3))
    desk.free.set()
    assert await told(tasks) == [error, 2, 4]


async def test_a_database_that_is_away_is_asked_once_for_all_that_wait() -> None:
    away = DatabaseUnavailable("out of reach", "08006")
    desk = Desk(failures=[away])
    tasks = await begun(desk, range(4))
    desk.free.set()
    assert await told(tasks) == [away] * 4
    assert (desk.together, desk.alone) == ([[0]], [])


async def test_one_that_is_cancelled_takes_no_other_with_it() -> None:
    desk = Desk()
    tasks = await begun(desk, range(5))
    desk.free.set()
    await asyncio.sleep(0)
    desk.free.clear()
    await asyncio.sleep(0)
    assert desk.together == [[0], [1, 2, 3, 4]]
    tasks[1].cancel()  # it carries the others out
    desk.free.set()
    assert isinstance((await told(tasks))[1], asyncio.CancelledError)
    assert [task.result() for at, task in enumerate(tasks) if at != 1] == [0, 4, 6, 8]
    assert desk.alone == [2, 3, 4]


async def test_one_that_is_cancelled_while_it_waits_is_not_carried_out() -> None:
    desk = Desk()
    tasks = await begun(desk, range(4))
    tasks[2].cancel()
    await asyncio.sleep(0)
    desk.free.set()
    await told(tasks)
    assert (desk.together, desk.alone) == ([[0], [1, 3]], [])


async def test_a_read_alone_is_several_that_are_one() -> None:
    asked: list[list[int]] = []

    async def halves(numbers: Sequence[int]) -> Sequence[int]:
        asked.append(list(numbers))
        await asyncio.sleep(0)
        if len(numbers) > 1:
            raise StoreError("not so many")
        return [number // 2 for number in numbers]

    half = reads(halves)
    assert await asyncio.gather(*map(half, (2, 4, 6))) == [1, 2, 3]
    assert asked == [[2], [4, 6], [4], [6]]
