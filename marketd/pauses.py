"""Pauses of jobs, and when a job is next in spite of them.

Pure; the clock's time comes in. Refuses to fire: see ``scheduler``.
"""

from typing import Final

from marketd.cron import Crons
from marketd.model import Job

ENDLESS_MS: Final = 7_258_118_400_000
"""2200-01-01: a pause that lasts longer counts as one without an end."""


def pause_end_ms(until_ms: int | None, now_ms: int) -> tuple[bool, int | None]:
    """Whether something is paused, and until when; None where there is no end, or no pause."""
    if until_ms is None or until_ms <= now_ms:
        return False, None
    return True, None if until_ms >= ENDLESS_MS else until_ms


def next_run_ms(job: Job, crons: Crons, now_ms: int) -> int | None:
    """When the clock fires the job; None where it never does by itself, or not before somebody resumes it."""
    asleep, until_ms = pause_end_ms(job.paused_until_ms, now_ms)
    if job.schedule is None or not job.enabled or (asleep and until_ms is None):
        return None
    return crons[job.schedule].next_after(now_ms if until_ms is None else until_ms - 1)
