"""Calls that come together, carried out together.

Owns who does the work: whoever finds nobody at it does it for all that wait, and those that come meanwhile are the next
ones. So a single call waits for nothing, and many share their round trips. Refuses to let one call spoil another: what
fails for several is done for each alone, but for a database that is away, of which nobody needs to hear twice.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from marketd.errors import DatabaseUnavailable, StoreError

Asked = TypeVar("Asked")
Told = TypeVar("Told")

MOST: Final = 64
_OF_ONE: Final = ("40001", "40P01", "55P03")  # somebody else's lock: it stands in the way of one call, not of all


class LeftOut:
    """In the place of an answer: this call has to be done alone."""


@dataclass(slots=True, eq=False)
class _Call(Generic[Asked, Told]):
    asked: Asked
    ended: bool = False
    told: Told | LeftOut | DatabaseUnavailable = LeftOut()  # noqa: RUF009  (one says it for all)


def reads(all_of: Callable[[Sequence[Asked]], Awaitable[Sequence[Told]]]) -> "Together[Asked, Told]":
    """Of calls that change nothing, one alone is several that are one."""

    async def alone(asked: Asked) -> Told:
        return (await all_of([asked]))[0]

    return Together(all_of, alone)


class Together(Generic[Asked, Told]):
    """``all_of`` answers several calls, each in its place; ``alone`` one that was left out."""

    def __init__(
        self,
        all_of: Callable[[Sequence[Asked]], Awaitable[Sequence[Told | LeftOut]]],
        alone: Callable[[Asked], Awaitable[Told]],
    ) -> None:
        self._all_of = all_of
        self._alone = alone
        self._waiting: list[_Call[Asked, Told]] = []
        self._turn = asyncio.Lock()

    async def __call__(self, asked: Asked) -> Told:
        call = _Call[Asked, Told](asked)
        self._waiting.append(call)
        try:
            async with self._turn:
                if not call.ended:
                    await self._carry_out()
        finally:
            if call in self._waiting:
                self._waiting.remove(call)
        if isinstance(call.told, LeftOut):
            return await self._alone(asked)
        if isinstance(call.told, DatabaseUnavailable):
            raise call.told.with_traceback(None)
        return call.told

    async def _carry_out(self) -> None:
        """Those that have waited longest; the caller is among them, since the lock is given in the same order."""
        calls, self._waiting = self._waiting[:MOST], self._waiting[MOST:]
        try:
            for call, told in zip(calls, await self._all_of([call.asked for call in calls]), strict=True):
                call.told = told
        except StoreError as error:
            if isinstance(error, DatabaseUnavailable) and error.sqlstate not in _OF_ONE:
                self._refuse([*calls, *self._waiting], error)
            elif len(calls) == 1:
                raise
        finally:
            for call in calls:
                call.ended = True

    def _refuse(self, calls: Sequence[_Call[Asked, Told]], error: DatabaseUnavailable) -> None:
        self._waiting = []
        for call in calls:
            call.told, call.ended = error, True
