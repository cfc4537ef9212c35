"""Entries of a job file, as text."""

import json


def entry(job_type: str, symbols: tuple[str, ...] = (), timeframes: tuple[str, ...] = (), **more: str) -> str:
    """One of Bitfinex; a list that is left out means all, ``more`` are further keys."""
    lists = {"symbols": list(symbols), "timeframes": list(timeframes)}
    keys = {"exchange": "bitfinex", **{key: names for key, names in lists.items() if names}, "job_type": job_type}
    return "\n".join(["", "[[jobs]]", *(f"{key} = {json.dumps(value)}" for key, value in (keys | more).items()), ""])
