"""A local exchange that speaks the wire format of each exchange, for drills, demonstrations, tests and benchmarks.

``recorded`` or ``synthetic`` make the market, ``Faults`` says what goes wrong, ``RehearsalServer`` serves both on
loopback. Imports only marketd's vocabulary: nothing here is needed in production.
"""

from marketd.rehearsal.faults import Faults
from marketd.rehearsal.market import Market, recorded, synthetic
from marketd.rehearsal.scenario import load_scenario
from marketd.rehearsal.server import RehearsalServer, serve

__all__ = ["Faults", "Market", "RehearsalServer", "load_scenario", "recorded", "serve", "synthetic"]
