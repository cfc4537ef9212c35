"""Which instance of marketd a database belongs to.

Owns the one name that a database carries, ``[database] instance`` of those who may work on it. Refuses everybody else,
those without a name included: production's URL in the configuration of a trial ends here.
"""

import asyncpg

from marketd.errors import PrivilegeError, SchemaError
from marketd.store.migrations import Connection
from marketd.store.queries import sql


async def check(conn: Connection, wanted: str | None) -> None:
    """Nothing where the database carries the name ``wanted`` or, for None, no name; SchemaError where it does not."""
    _compare(await _name(conn), wanted)


async def check_before(conn: Connection, wanted: str | None) -> None:
    """Like ``check``, for who is about to migrate: a database without a name may still get one."""
    if await conn.fetchval(sql("instance_known")) and (name := await _name(conn)) is not None:
        _compare(name, wanted)


async def claim(conn: Connection, wanted: str | None) -> None:
    """Give the name ``wanted`` to a database that has none; SchemaError where it has another one."""
    name = await _name(conn)
    if wanted is not None and name is None:
        try:
            await conn.execute(sql("instance_claim"), wanted)
        except asyncpg.InsufficientPrivilegeError as error:
            raise PrivilegeError(f"{error}. Run `marketd migrate` as the role that owns the schema") from error
        name = await _name(conn)  # perhaps somebody else has claimed it meanwhile
    _compare(name, wanted)


def _compare(name: str | None, wanted: str | None) -> None:
    if name == wanted:
        return
    if name is None:
        raise SchemaError(
            f"this configuration is that of instance {wanted!r}, and the database belongs to none: if it is the right "
            "one, run `marketd migrate` to give it the name; else correct its URL"
        )
    ours = "none is named in this configuration" if wanted is None else f"this configuration is that of {wanted!r}"
    raise SchemaError(
        f"the database belongs to instance {name!r}, and {ours}: correct the database's URL, or [database] instance"
    )


async def _name(conn: Connection) -> str | None:
    found: str | None = await conn.fetchval(sql("instance_name"))
    return found
