"""Login roles, as an operator makes them for the daemon and for readers."""

import asyncpg


async def login(owner: "asyncpg.Connection[asyncpg.Record]", dsn: str, group: str) -> str:
    """The DSN of a login role that is a member of ``group``."""
    name = f"{group}_login"
    await owner.execute(
        f"DO $$ BEGIN CREATE ROLE {name} LOGIN IN ROLE {group}; EXCEPTION WHEN duplicate_object THEN NULL; END $$"
    )
    return dsn.replace("user=marketd", f"user={name}")


async def login_url(dsn: str, group: str) -> str:
    """The same as a URL that a command takes."""
    owner = await asyncpg.connect(dsn)
    try:
        return f"postgresql://{(await login(owner, dsn, group)).partition('://')[2]}"
    finally:
        await owner.close()
