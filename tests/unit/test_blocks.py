"""Blocks: which ones a set touches, and what open gaps owe."""

import pytest

from marketd.blocks import BLOCK, CHUNK, blocks_of, chunks, intervals_of, owed
from marketd.model import Cause, Gap, Resolution
from marketd.ranges import NOTHING, Ranges


def test_a_block_is_a_day_of_minutes_as_the_tables_have_it() -> None:
    assert BLOCK == 24 * 60


@pytest.mark.parametrize(
    ("ranges", "touched"),
    [
        (NOTHING, []),
        (Ranges.of((0, 1)), [0]),
        (Ranges.of((0, BLOCK)), [0]),
        (Ranges.of((BLOCK - 1, BLOCK + 1)), [0, 1]),
        (Ranges.of((BLOCK, BLOCK + 1), (3 * BLOCK, 3 * BLOCK + 1)), [1, 2, 3]),
        (Ranges.of((-1, 0)), [-1]),
    ],
)
def test_all_blocks_from_the_first_to_the_last_are_touched(ranges: Ranges, touched: list[int]) -> None:
    assert list(blocks_of(ranges)) == touched


@pytest.mark.parametrize(
    ("gap", "expected"),
    [
        (Gap(Cause.LATE, Ranges.of((5, 9)), 0), Ranges.of((5, 9))),
        (Gap(Cause.SUSPECT, Ranges.of((5, 9)), 0), NOTHING),
        (Gap(Cause.LATE, Ranges.of((5, 9)), 0, repaired_ms=1, resolution=Resolution.NOT_WANTED), NOTHING),
    ],
    ids=["open", "suspect", "no longer wanted"],
)
def test_only_an_open_gap_that_is_not_suspect_takes_intervals_out_of_what_is_answered(
    gap: Gap, expected: Ranges
) -> None:
    assert owed([gap]) == expected


def test_blocks_are_looked_through_so_many_at_a_time() -> None:
    assert list(chunks([])) == []
    assert list(chunks([7])) == [[7]]
    assert [len(chunk) for chunk in chunks(range(2 * CHUNK + 1))] == [CHUNK, CHUNK, 1]
    assert [number for chunk in chunks(range(2 * CHUNK + 1)) for number in chunk] == [*range(2 * CHUNK + 1)]


def test_the_intervals_of_blocks_are_all_within_their_borders() -> None:
    assert intervals_of([]) == NOTHING
    assert intervals_of([3, 5, 4]) == Ranges.of((3 * BLOCK, 6 * BLOCK))
    assert intervals_of([-1, 1]) == Ranges.of((-BLOCK, 0), (BLOCK, 2 * BLOCK))
