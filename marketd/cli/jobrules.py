"""Who may change which row of the job table.

Owns the refusals of ``marketd jobs`` and their cures, and who works on what already. Pure: rows in, sentences out.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from enum import StrEnum
from typing import Any, Final

from marketd.cron import Crons
from marketd.errors import ConfigError, JobRefused, PrivilegeError
from marketd.jobs import ORDER, Derive, job_from_row, working_rows
from marketd.model import Slot
from marketd.store.jobrows import KnownJob
from marketd.text import clean


class Verb(StrEnum):
    ENABLE = "enable"
    DISABLE = "disable"
    REMOVE = "remove"
    PAUSE = "pause"
    RESUME = "resume"


_IN_THE_FILE: Final = {
    Verb.ENABLE: "set enabled = true in the file and reload",
    Verb.DISABLE: "set enabled = false in the file and reload, or `marketd jobs pause {id}`",
    Verb.REMOVE: "take it out of the file and reload, or `marketd jobs pause {id}`",
}
_BY_SQL: Final = {
    Verb.ENABLE: "UPDATE market_data_jobs SET enabled = true WHERE id = {id}",
    Verb.DISABLE: "UPDATE market_data_jobs SET enabled = false WHERE id = {id}",
    Verb.REMOVE: "UPDATE market_data_jobs SET enabled = false, removed_at = now() WHERE id = {id}",
}


def refuse(reasons: Sequence[str]) -> None:
    """JobRefused where there is a reason, with all of them."""
    if len(reasons) == 1:
        raise JobRefused(reasons[0])
    if reasons:
        raise JobRefused("\n  ".join(["nothing was changed:", *reasons]))


def checked(ids: Iterable[int], known: Mapping[int, KnownJob], verb: Verb) -> list[KnownJob]:
    """The rows of ``ids``; JobRefused with every reason where one of them is not there or not to be changed so."""
    wanted = list(dict.fromkeys(ids))
    refuse([reason for number in wanted if (reason := _why_not(number, known.get(number), verb)) is not None])
    return [known[number] for number in wanted]


def _why_not(number: int, job: KnownJob | None, verb: Verb) -> str | None:
    if job is None:
        return f"there is no job {number}; `marketd jobs list --all` shows all"
    if job.removed:
        return f"job {number} was removed; `marketd jobs add` makes a new one"
    if job.origin == "file" and verb in _IN_THE_FILE:
        cure = _IN_THE_FILE[verb].format(id=number)
        return f"job {number} comes from {_file_of(job)}, whose next reload would undo this: {cure}"
    if job.origin == ORDER and verb in (Verb.ENABLE, Verb.REMOVE):
        return f"job {number} is an order by hand, which ends with its run: give the order again"
    return None


def reached(jobs: Sequence[KnownJob], done: Collection[int], verb: Verb) -> None:
    """PrivilegeError with the statements to run where the database has passed rows over: they are not this role's."""
    statements = [_BY_SQL[verb].format(id=job.id) for job in jobs if job.id not in done]
    if statements:
        names = ", ".join(f"job {job.id} (origin {job.origin})" for job in jobs if job.id not in done)
        raise PrivilegeError(
            f"nothing was changed: this database role may not change {names}; as the owner of the tables run\n  "
            + "\n  ".join(f"{statement};" for statement in statements)
        )


def holders(rows: Iterable[Mapping[str, Any]], derive: Derive) -> dict[Slot, KnownJob]:
    """Who works on each slot, given the enabled rows; one that cannot be used works on none."""
    crons, jobs, known = Crons(), [], dict[int, KnownJob]()
    for row in rows:
        with suppress(ConfigError):
            jobs.append(job_from_row(row, crons, derive))
            known[int(row["id"])] = KnownJob.of(row)
    return {slot: known[job.id] for slot, job in working_rows(jobs).items()}


def held(work: object, by: KnownJob) -> str:
    """That ``by`` does this work already, and what to do."""
    cures = {"file": f"from {_file_of(by)}: change it there", "sql": "made by SQL: change it there"}
    cure = cures.get(by.origin, f"origin {by.origin}: `marketd jobs remove {by.id}` first")
    return f"{work} is the work of job {by.id} already, {cure}"


def _file_of(job: KnownJob) -> str:
    return f"the job file of {clean(job.owner or 'nobody', 60)}"
