"""What the status page says: who comes first, and the answers to the three questions."""

import gzip
from dataclasses import replace
from typing import Any

import pytest

from marketd.figures import Answered, JobFigures, Missing, OpenGap, RunFigures, SeriesFigures, SeriesMap
from marketd.fillings import Filling
from marketd.jobs import Feasibility
from marketd.meter import Reading
from marketd.model import Cause, Claim, JobType, RunStatus, Series
from marketd.ranges import NOTHING, Ranges
from marketd.web import ExchangeStatus, boards, overview
from marketd.web import page as web_page
from marketd.web.overview import Found, Given, Overview
from tests.told import NOW_MS, Told
from tests.unit.test_coverage import figures

MINUTE = 60_000
BTC, ETH, LTC = (Series("bitfinex", symbol, "1m") for symbol in ("BTCUSD", "ETHUSD", "LTCUSD"))
XBT = Series("kraken", "XBTUSD", "1m")
DASH = Series("bitfinex", "DSHUSD", "1d")


def told(**more: Any) -> Told:
    return Told(goals=dict.fromkeys((BTC, ETH, LTC), 180.0), **more)


def answered(series: Series, behind_s: float) -> Answered:
    return Answered(series, NOW_MS - int(behind_s * 1000))


class TestRanking:
    def test_who_needs_attention_comes_first(self) -> None:
        owed = {LTC: Missing(late=5), XBT: Missing(lost=9)}
        known = [answered(BTC, 60), answered(LTC, 60), answered(XBT, 9_999), answered(ETH, 500)]
        order, late = overview.ranked(known, owed, told(), Given())
        assert order == [ETH, XBT, LTC, BTC]
        assert late == {ETH: 500}

    def test_what_was_never_answered_is_the_latest_of_all(self) -> None:
        order, late = overview.ranked([answered(BTC, 500), answered(ETH, 1)], {}, told(), Given())
        assert order == [LTC, BTC, ETH]
        assert late == {LTC: float("inf"), BTC: 500}

    def test_what_a_job_is_to_fill_is_listed_before_it_is_answered(self) -> None:
        order, late = overview.ranked([answered(BTC, 1)], {}, told(wanted={DASH}), Given())
        assert (DASH in order, DASH in late) == (True, False)

    def test_a_market_that_rests_is_not_late(self) -> None:
        _, late = overview.ranked([answered(BTC, 500)], {}, told(rests={"BTCUSD": "halted"}), Given())
        assert BTC not in late

    def test_only_what_was_chosen(self) -> None:
        known = [answered(each, 1) for each in (BTC, XBT)]
        assert overview.ranked(known, {}, told(), Given(exchange="kraken"))[0] == [XBT]
        assert overview.ranked(known, {}, told(), Given(text="bt"))[0] == [BTC, XBT]


def known(series: Series = BTC, **more: Any) -> SeriesFigures:
    return replace(figures(series=series), **more)


def page(status: Told, *shown: SeriesFigures, maps: tuple[SeriesMap, ...] = (), **more: Any) -> Overview:
    end = NOW_MS // MINUTE
    drawn = maps or tuple(SeriesMap(each.series, end - 1440, end, Ranges.of((0, end)), NOTHING, ()) for each in shown)
    found: dict[str, Any] = {
        "ranked": [each.series for each in shown], "late": {}, "owed": {}, "open_gaps": 0, "jobs": (),
        "window": (NOW_MS - 86_400_000, NOW_MS),
    }  # fmt: skip
    return overview.overview(Found(figures=shown, maps=drawn, **found | more), status, Given("day"))


def some_job(job_type: JobType, *, ended: RunStatus | None = None, **more: Any) -> JobFigures:
    """A job that is well, but for how its last run ended."""
    fields: dict[str, Any] = dict.fromkeys(JobFigures.__dataclass_fields__)
    fields |= {"id": 7, "exchange": "bitfinex", "job_type": job_type, "paused": False, "running": False}
    if ended is not None:
        run: dict[str, Any] = dict.fromkeys(RunFigures.__dataclass_fields__)
        fields["last_run"] = RunFigures(**run | {"status": ended})
    return JobFigures(**fields | {"origin": "sql", "enabled": True} | more)


class TestQuestions:
    def said(self, view: Overview) -> list[tuple[str, str]]:
        return [(card.mark, card.said) for card in view.cards]

    def test_all_is_well(self) -> None:
        view = page(told(), known(answered_until_ms=NOW_MS))
        assert self.said(view) == [("good", "Yes"), ("good", "No"), ("good", "It is done")]

    def test_nothing_is_followed(self) -> None:
        assert self.said(page(Told()))[0] == ("bad", "Nothing is followed")

    def test_what_is_late_is_named_and_why(self) -> None:
        away = ExchangeStatus("bitfinex", 30, 0, "open", NOW_MS + 60_000)
        status = told(known_exchanges=[away])
        view = page(status, known(), known(ETH), late={BTC: 7_800.0})
        assert self.said(view)[0] == ("bad", "No: 1 of 2 series are late")
        assert view.cards[0].more == (
            "bitfinex BTCUSD 1m is 2 h 10 min behind, 3 min are allowed. bitfinex is out of reach, and is left alone "
            "until 2024-01-03 00:01."
        )
        never = page(told(), known(), late={BTC: float("inf")})
        assert never.cards[0].more == "bitfinex BTCUSD 1m was never answered."

    def test_holes_are_counted_by_cause(self) -> None:
        owed = {BTC: Missing(late=200, failed=2), ETH: Missing(not_asked=1)}
        view = page(told(), known(), known(ETH), owed=owed, open_gaps=4)
        assert self.said(view)[1] == ("bad", "Yes: 4 open gaps")
        assert view.cards[1].more == "Candles owed, in 2 of the series: 200 late, 2 failed, 1 not asked."

    @pytest.mark.parametrize(
        ("left_s", "said"),
        [(None, "It has only just begun"), (5_400.0, "In about 1 h 30 min"), (30.0, "In about 30 s")],
    )
    def test_a_backfill_says_when_it_will_be_done(self, left_s: float | None, said: str) -> None:
        filling = {BTC: Filling(40, Reading(0.25, 900.0, left_s, 30)), ETH: Filling(1, Reading(0.0, 0.0, None, 1))}
        view = page(told(filling=filling), known(unknown=5_000))
        assert self.said(view)[2] == ("busy", said)
        assert view.cards[2].more == "1 series is being filled, 25% done; 5 000 candles are still to come."
        (row,) = view.backfills
        assert (row.series, row.share, row.done, row.rate) == (BTC, 25.0, "10 of 40 requests", "900 candles/s")

    def test_a_backfill_that_waits(self) -> None:
        view = page(told(), known(unknown=5_000))
        assert self.said(view)[2] == ("busy", "It waits")
        assert view.cards[2].more.startswith("5 000 candles are still to be asked for. No job asks for them")

    @pytest.mark.parametrize(
        ("away", "job", "why"),
        [
            (True, {}, "bitfinex has asked for silence until 2024-01-03 00:01."),
            (False, {"paused": True}, "Job 7 is paused."),
            (False, {"ended": RunStatus.PARTIAL}, "Job 7 ended partial and is tried again."),
            (False, {"ended": RunStatus.SUCCESS}, ""),
            (False, {}, ""),
        ],
    )
    def test_a_backfill_that_waits_says_why(self, away: bool, job: dict[str, Any], why: str) -> None:
        state = ExchangeStatus("bitfinex", 30, 0)
        if away:
            state = replace(state, state="cooling", until_ms=NOW_MS + 60_000)
        view = page(told(known_exchanges=[state]), known(unknown=5_000), jobs=[some_job(JobType.BACKFILL, **job)])
        assert view.cards[2].more == f"5 000 candles are still to be asked for. {why}"

    def test_what_the_exchange_no_longer_serves_is_not_waited_for(self) -> None:
        end = NOW_MS // MINUTE
        shown = known(
            XBT, unknown=end - 720 - 10, answered_from_ms=(end - 720) * MINUTE, answered_until_ms=NOW_MS, first_ms=None
        )
        assert self.said(page(told(reaches={"kraken": 720}), shown))[2] == ("good", "It is done")


class TestRows:
    def test_what_is_late_or_has_holes_is_marked(self) -> None:
        (row,) = page(told(), known(answered_until_ms=NOW_MS - 200_000, missing=Missing(late=3, not_asked=1))).rows
        assert (row.lag, row.late, row.holes) == ("3 min 20 s of 3 min", True, "1 not asked, 3 late, longer ago")
        end = NOW_MS // MINUTE
        here = (OpenGap(1, Cause.LATE, Ranges.of((end - 3, end))),)
        maps = (SeriesMap(BTC, end - 1440, end, Ranges.of((0, end - 3)), NOTHING, here),)
        (row,) = page(told(), known(missing=Missing(late=3)), maps=maps).rows
        assert row.holes == "3 late"
        (row,) = page(told(), known(answered_until_ms=NOW_MS - 60_000)).rows
        assert (row.lag, row.late, row.holes) == ("1 min of 3 min", False, "")
        (row,) = page(told(rests={"BTCUSD": "halted"}), known(answered_until_ms=NOW_MS - 900_000)).rows
        assert (row.lag, row.late) == ("halted", False)

    def test_an_outage_is_drawn_through_all_rows_of_its_exchange_and_said(self) -> None:
        end = NOW_MS // MINUTE
        gap = OpenGap(1, Cause.LATE, Ranges.of((end - 600, end - 500)))
        shown = (known(BTC), known(ETH), known(XBT))
        maps = tuple(
            SeriesMap(each.series, end - 1440, end, Ranges.of((0, end - 600), (end - 500, end)), NOTHING, (gap,))
            for each in shown[:2]
        )
        maps = (*maps, SeriesMap(XBT, end - 1440, end, Ranges.of((0, end)), NOTHING, ()))
        view = page(told(), *shown, maps=maps)
        assert view.outages == ["All series of bitfinex lack 2024-01-02 14:00 to 2024-01-02 15:40."]
        assert ["outage" in row.drawing for row in view.rows] == [True, True, False]

    def test_a_job_that_failed_is_shown_first(self) -> None:
        job = some_job(JobType.CONTINUOUS, schedule="* * * * *", status="idle")
        (well,) = page(told(), jobs=(job,)).jobs
        assert (well.what, well.last, well.noted, well.state) == ("continuous bitfinex * *", "never", False, "idle")
        (idle,) = page(told(), jobs=(replace(job, last_error="bitfinex has halted BTCUSD"),)).jobs
        assert (idle.noted, idle.state) == (True, "bitfinex has halted BTCUSD")
        (paused,) = page(told(), jobs=(replace(job, paused=True, paused_until_ms=NOW_MS),)).jobs
        assert (paused.noted, paused.state) == (True, "paused until 2024-01-03 00:00")


def test_a_budget_says_what_it_was_spent_on() -> None:
    exchange = ExchangeStatus("bitfinex", 30, 12, used={Claim.CONTINUOUS: 9, Claim.BACKFILL: 3})
    (budget,) = boards.budgets(Told(known_exchanges=[exchange], needs=[Feasibility("bitfinex", 9, 45.0, 30.0)]))
    live, backfill = (share for share in budget.shares if share.count)
    assert (live.name, live.count, live.left, live.width) == ("live", 9, 0.0, 30.0)
    assert (backfill.name, backfill.count, backfill.left, backfill.width) == ("backfill", 3, 30.0, 10.0)
    assert (budget.free, budget.well, budget.state) == (18, True, "answers")
    assert budget.needs == "live jobs need 45.0 of 30 a minute, which cannot be kept fresh"


def test_the_page_of_sixty_series_is_small_on_the_wire() -> None:
    """Each of them with ten silences and two holes of its own in the week."""
    end, week = NOW_MS // MINUTE, 7 * 1440
    everything, maps = [known(Series("bitfinex", f"C{number}USD", "1m")) for number in range(60)], []
    for number, each in enumerate(everything):
        quiet = Ranges.of(
            *((end - 700 * at - 37 * number, end - 700 * at - 37 * number + 40 + at) for at in range(1, 11))
        )
        holes = Ranges.of((end - 61 * number - 500, end - 61 * number - 480), (end - 5000 - number, end - 4900))
        gaps = tuple(OpenGap(2 * number + at, Cause.FAILED, Ranges.of(span)) for at, span in enumerate(holes.spans))
        maps.append(SeriesMap(each.series, end - week, end, Ranges.of((0, end)) - holes, quiet, gaps))
    view = page(told(), *everything, maps=tuple(maps), window=(NOW_MS - week * MINUTE, NOW_MS))
    assert len(gzip.compress(web_page.whole(view, "1.2.3").encode())) < 20_000
