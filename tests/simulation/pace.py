"""How often the engine looks up when nothing is due.

Owns the one thing in which a simulated daemon differs from a real one: it polls ``slower`` times as rarely, so that a
simulated day costs a second and not ten. What is due at a time of its own (firings, retries, turns at the budget) is
as punctual as ever.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from marketd import assembly, keeper, scheduler
from marketd.store import leases


@contextmanager
def pace(slower: float) -> Iterator[None]:
    kept = [
        (module, name, getattr(module, name))
        for module, name in (
            (scheduler, "LONGEST_PAUSE_S"), (scheduler, "ORDERS_EVERY_S"), (keeper, "EVERY_S"),
            (keeper, "TURN_EVERY_S"), (assembly, "LEASE_S"), (leases, "LEASE_S"),
        )
    ]  # fmt: skip
    try:
        for module, name, value in kept:
            # The table is read every 15 s and the lease renewed every 5 s: both are rarer than the other polls.
            setattr(module, name, value * slower if value <= 1 else value * max(1.0, slower / 4))
        yield
    finally:
        for module, name, value in kept:
            setattr(module, name, value)
