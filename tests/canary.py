"""A password that nobody may ever see.

Owns the word that stands as password in every database address of the tests, and the look for it: in what the process
logs and prints, in what daemons and commands say, in what the port answers, and in the tables a test leaves behind.
"""

import asyncpg

CANARY = "S3cr3t-canary-4711"

_TABLES = """
SELECT format(
    'SELECT %L AS place WHERE EXISTS (SELECT FROM %I t WHERE t::text LIKE ''%%%s%%'')', relname, relname, $1::text
)
FROM pg_class
WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')
  AND relname NOT IN ('candles', 'candle_revisions', 'candle_coverage')  -- numbers and names of series
"""


def addressed(dsn: str) -> str:
    """A database address of the form ``postgresql:///NAME?…``, with the canary as its password."""
    return f"{dsn}&password={CANARY}"


def unseen(text: str) -> str:
    """``text`` as it is, which must not hold the canary."""
    assert CANARY not in text, f"a secret is shown: {text}"
    return text


async def look_into(connection: "asyncpg.Connection[asyncpg.Record]") -> list[str]:
    """The tables in which the canary stands."""
    looks = [row[0] for row in await connection.fetch(_TABLES, CANARY)]
    return [row["place"] for row in await connection.fetch(" UNION ALL ".join(looks))] if looks else []
