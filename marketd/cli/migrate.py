"""``marketd migrate``: the tables, brought up to date."""

from collections.abc import Sequence

import click

from marketd import assembly
from marketd.cli.app import App, command, json_option, pass_app
from marketd.cli.output import say, show_json
from marketd.cli.start import configured, log_warnings, on_loop
from marketd.config import Config
from marketd.store.migrations import Migration
from marketd.store.session import connection_for_schema


@command("migrate")
@click.option("--dry-run", is_flag=True, help="Only name what would be done.")
@json_option
@pass_app
def migrate(app: App, dry_run: bool, as_json: bool) -> int:
    """Bring the tables of the database up to date.

    Run it as the role that owns the schema; `marketd run` may then work under a role that cannot change it. Each step
    is one transaction, and is never taken back. Doing it again does nothing.

    \b
    Examples:
      marketd migrate --dry-run
      DATABASE_URL=postgresql://owner@localhost/marketd marketd migrate

    Exit codes: 0 done, 69 database out of reach, 75 others hold the tables, 77 the role may not, 78 the database is
    newer than this program, belongs to another instance, or is not usable.
    """
    config = configured(app)
    log_warnings(config)
    steps = on_loop(_migrated(config, dry_run=dry_run))
    if as_json:
        show_json({"dry_run": dry_run, "migrations": [str(step) for step in steps]})
        return 0
    for step in steps:
        say(f"{'would apply' if dry_run else 'applied'} {step}")
    if not steps:
        say("nothing to do: the schema is current")
    if config.database.instance is not None and not dry_run:
        say(f"the database is that of instance {config.database.instance}")
    return 0


async def _migrated(config: Config, *, dry_run: bool) -> Sequence[Migration]:
    async with (
        assembly.database_url(config) as url,
        connection_for_schema(url, pooler=config.database.pooler) as connection,
    ):
        return await assembly.migrated(connection, config.database.instance, dry_run=dry_run)
