"""What a real Prometheus is given differs from what ships in its durations only, each shortened by the same rule."""

import pytest

from tests.monitoring.compression import compressed, milliseconds, shorter_ms

RULE = """\
      - alert: One
        expr: >-
          time() - max by (job) (seen{job="marketd"}) > 7200
          and increase(runs{job="marketd", of="marketd"}[1h30m]) > 0
          and time() - seen > on (job) limit > 1
        for: 6h
      - alert: Two
        expr: other[5m] > 3600
        for: 30s
        annotations:
          description: "for: 6h"
"""
SHORTER = """\
      - alert: One
        expr: >-
          time() - max by (job) (seen{job="a"}) > 20
          and increase(runs{job="a", of="marketd"}[15000ms]) > 0
          and time() - seen > on (job) limit > 1
        for: 60000ms
      - alert: Two
        expr: other[5000ms] > 3600
        for: 5000ms
        annotations:
          description: "for: 6h"
"""


def test_durations_windows_and_ages_are_shortened_and_nothing_else() -> None:
    assert compressed(RULE, job="a") == SHORTER


@pytest.mark.parametrize(("literal", "expected"), [("250ms", 250), ("1h30m", 5_400_000), ("6h", 21_600_000)])
def test_durations_are_read_as_prometheus_reads_them(literal: str, expected: int) -> None:
    assert milliseconds(literal) == expected


@pytest.mark.parametrize("literal", ["", "5", "m5", "5 m", "five"])
def test_what_is_no_duration_is_refused(literal: str) -> None:
    with pytest.raises(ValueError, match="is no duration"):
        milliseconds(literal)


def test_no_time_becomes_too_short_to_be_seen() -> None:
    assert [shorter_ms(time_ms) for time_ms in (1, 60_000, 1_800_000, 3_600_000)] == [5_000, 5_000, 5_000, 10_000]
