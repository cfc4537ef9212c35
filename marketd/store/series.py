"""What the database knows of a series, for the planner.

Owns the reads between pages: facts, coverage, gaps, looks, neighbours. Writes only the facts of a series.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import asyncpg

from marketd.blocks import BLOCK
from marketd.model import Gap, Series
from marketd.planner import Edges
from marketd.ports import Facts
from marketd.ranges import Ranges, Span
from marketd.store import codec, held
from marketd.store.held import EVERYTHING, Stretch
from marketd.store.queries import sql
from marketd.store.session import Database
from marketd.store.together import reads

_RECENT_BLOCKS = 3
_LOOKS_A_RUN = 5000


class SeriesReader:
    def __init__(self, database: Database) -> None:
        self._database = database
        self._facts = reads(self._facts_of)
        self._edges = reads(self._edges_of)

    async def know(self, series: Series, derived_from: str | None) -> None:
        """Register the series, or note that it is built from another timeframe now."""
        async with self._database.session() as connection, connection.transaction():
            changed = await connection.execute(sql("know_series"), *series, derived_from)
            if derived_from is not None and changed != "INSERT 0 0":
                await connection.execute(sql("close_derived_gaps"), *series)

    async def facts(self, series: Series) -> Facts | None:
        return await self._facts(series)

    async def _facts_of(self, series: Sequence[Series]) -> Sequence[Facts | None]:
        async with self._database.session() as connection:
            rows = await connection.fetch(sql("read_series"), *codec.names(series), _RECENT_BLOCKS)
        found = dict[int, Facts]()
        for row in rows:
            at = row["number"] - 1
            known = _facts(series[at], row)
            found[at] = replace(known, followed=row["followed"], unsettled=codec.ranges(row["unsettled"]))
        return [found.get(at) for at in range(len(series))]

    async def known(self, exchange: str) -> Mapping[Series, Facts]:
        """What is known of every series of the exchange."""
        async with self._database.session() as connection:
            rows = await connection.fetch(sql("known_series"), exchange)
        named = ((Series(row["exchange"], row["symbol"], row["timeframe"]), row) for row in rows)
        return {series: _facts(series, row) for series, row in named}

    async def note_first(self, series: Series, first: int | None, at_ms: int) -> None:
        """Keep the first candle the exchange has (None: it sent none)."""
        opened = None if first is None else codec.opens(series, first)
        async with self._database.session() as connection:
            await connection.execute(sql("note_first"), *series, opened, codec.moment(at_ms))

    async def note_rebuilt(self, series: Series) -> None:
        """From now on nothing that was proven before is held against the ledger."""
        async with self._database.session() as connection:
            await connection.execute(sql("note_rebuilt"), *series)

    async def blocks(self, series: Series) -> Sequence[int]:
        """All blocks that have a ledger row or a candle, in order."""
        async with self._database.session() as connection:
            return [row["block"] for row in await connection.fetch(sql("all_blocks"), *series)]

    async def answered(self, series: Series, span: Span) -> Ranges:
        async with self._database.session() as connection:
            return codec.ranges(await connection.fetchval(sql("answered_within"), *series, *span))

    async def unfinished(self, wanted: Sequence[tuple[Series, int, int]]) -> frozenset[int]:
        """Of ``(series, start, end)`` the positions of those with an unknown interval in ``[start, end)``.

        Exactly those for which ``planner.backfill`` would leave something to ask for.
        """
        edges = [start for _, start, _ in wanted], [end for _, _, end in wanted]
        async with self._database.session() as connection:
            rows = await connection.fetch(sql("unfinished_series"), *codec.names(one for one, _, _ in wanted), *edges)
        return frozenset(row["number"] - 1 for row in rows)

    async def open_gaps(self, series: Series, span: Span | None = None) -> tuple[Gap, ...]:
        within = EVERYTHING if span is None else Ranges.of(span)
        async with self._database.session() as connection:
            return (await held.owed(connection, [Stretch(series, within)]))[0]

    async def edges(self, series: Series, span: Span) -> Edges:
        return await self._edges((series, span))

    async def _edges_of(self, stretches: Sequence[tuple[Series, Span]]) -> Sequence[Edges]:
        series = [one for one, _ in stretches]
        opens = ([codec.opens(one, span[side]) for one, span in stretches] for side in (0, 1))
        async with self._database.session() as connection:
            rows = await connection.fetch(sql("edges"), *codec.names(series), *opens)
        return [
            Edges(codec.number(one, row["left_open"]), codec.number(one, row["right_open"]))
            for one, row in zip(series, rows, strict=True)
        ]

    async def empties(self, series: Series, span: Span) -> Mapping[int, int]:
        """How many intervals of each block around ``span`` are known to be empty."""
        async with self._database.session() as connection:
            rows = await connection.fetch(sql("empties_within"), *series, span[0] // BLOCK, (span[1] - 1) // BLOCK)
        return {row["block"]: row["empties"] for row in rows}

    async def due_looks(self, series: Series, now_ms: int) -> Sequence[Span]:
        """The answered parts of blocks whose empties are due for another look, ascending."""
        async with self._database.session() as connection:
            rows = await connection.fetch(sql("due_looks"), *series, codec.moment(now_ms), _LOOKS_A_RUN)
        return [(row["first"], row["last"]) for row in rows]

    async def due_series(self, exchange: str, now_ms: int) -> Sequence[Series]:
        """Series of the exchange with a gap or a look that is due."""
        async with self._database.session() as connection:
            rows = await connection.fetch(sql("due_series"), exchange, codec.moment(now_ms))
        return [Series(exchange, row["symbol"], row["timeframe"]) for row in rows]

    async def audit_plan(self, series: Series, most: int | None, before_ms: int | None) -> Sequence[int]:
        """Blocks to audit next: the newest, and at most ``most`` of those that were not audited since ``before_ms``."""
        async with self._database.session() as connection:
            rows = await connection.fetch(sql("audit_plan"), *series, most, codec.moment(before_ms))
        return [row["block"] for row in rows]

    async def disagreeing(self, series: Series, blocks: Sequence[int], at_ms: int) -> Sequence[int]:
        """Those of ``blocks`` whose ledger count is not the count of rows; the others are noted as audited."""
        opens, closes = ([codec.opens(series, (block + add) * BLOCK) for block in blocks] for add in (0, 1))
        async with self._database.session() as connection:
            rows = await connection.fetch(sql("audit"), *series, list(blocks), opens, closes, codec.moment(at_ms))
        return [row["block"] for row in rows]

    async def empty_runs(self, series: Series, span: Span, least: int) -> Sequence[Span]:
        """Runs of at least so many empty intervals in and around ``span``, joined over blocks, in order."""
        async with self._database.session() as connection:
            rows = await connection.fetch(sql("empty_runs"), *series, *span, least)
        return [(row["start"], row["end"]) for row in rows]

    async def silences(self, series: Series, span: Span, least: int) -> Mapping[str, Sequence[Span]]:
        """The same of every other symbol of this exchange and timeframe; none for those that were never so silent."""
        async with self._database.session() as connection:
            rows = await connection.fetch(sql("silences"), *series, *span, least)
        runs: dict[str, list[Span]] = {}
        for row in rows:
            found = runs.setdefault(row["symbol"], [])
            if row["start"] is not None:
                found.append((row["start"], row["end"]))
        return runs

    async def settled_suspects(self, series: Series, span: Span) -> Ranges:
        """What closed suspect gaps have settled within ``span``."""
        async with self._database.session() as connection:
            within = codec.multirange(Ranges.of(span))
            return codec.ranges(await connection.fetchval(sql("settled_suspects"), *series, within))


def _facts(series: Series, row: asyncpg.Record) -> Facts:
    return Facts(
        derived_from=row["derived_from"],
        first=codec.number(series, row["first_open_time"]),
        first_asked_ms=codec.millis(row["first_asked_at"]),
        answered_start=row["answered_start"],
        answered_end=row["answered_end"],
        retired=row["retired"],
    )
