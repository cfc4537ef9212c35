"""What hostile replies cost: the process that asks for them is another one, so that its memory can be measured."""

import re
from pathlib import Path

import pytest

from tests.certificates import Authority
from tests.hostile import WIRES, calm, cost_of, sending

TOTAL_S = 5.0
MOST_MB = 20
MOST_HELD_S = 2.0  # of the event loop, where other processes are at work; 0.2 s at most on an idle host
ENDINGS = {
    "large": "BadReply", "large_in_chunks": "BadReply", "large_without_a_length": "BadReply", "bomb": "BadReply",
    "switching": "101",
}  # fmt: skip


@pytest.mark.parametrize("name", WIRES)
async def test_a_hostile_reply_costs_little(name: str) -> None:
    """fault_35, fault_46."""
    async with sending(WIRES[name]) as base:
        cost = await cost_of(base, TOTAL_S)
    assert cost.ending.startswith(ENDINGS.get(name, "Unreachable")), cost
    assert cost.seconds < TOTAL_S + 1, cost
    assert cost.grown_mb < MOST_MB, cost
    assert cost.held_s < MOST_HELD_S, cost


@pytest.mark.parametrize(
    ("names", "expired", "ending"),
    [
        (["localhost"], False, "200"),
        (["localhost"], True, "Unreachable: localhost: cannot connect: .*certificate has expired"),
        (["elsewhere.example"], False, "Unreachable: localhost: cannot connect: .*mismatch"),
    ],
)
async def test_certificates_are_believed_as_they_should(
    names: list[str], expired: bool, ending: str, tmp_path: Path
) -> None:
    """fault_34: an authority that the host trusts, and what it vouches for."""
    authority = Authority(tmp_path)
    async with sending(calm, authority.server(*names, expired=expired)) as base:
        trusting = await cost_of(base, TOTAL_S, SSL_CERT_FILE=str(authority.file))
        trustless = await cost_of(base, TOTAL_S)
    assert re.match(ending, trusting.ending), trusting
    assert trustless.ending.startswith("Unreachable: localhost: cannot connect"), trustless
