"""What a reload says that it has changed."""

from dataclasses import replace
from typing import Any

from marketd.changes import Changes, changes, reopened
from marketd.config import Config, build
from marketd.jobset import JobSet
from marketd.model import Job, JobType


def config(text: str = "") -> Config:
    return build(text, {}, None, lambda path: None, need_database=False)


def job(number: int, **more: Any) -> Job:
    return Job(number, "bitfinex", "BTCUSD", "1m", JobType.CONTINUOUS, "*/5 * * * *", **more)


def jobs(*some: Job, **more: Any) -> JobSet:
    return JobSet(jobs={one.id: one for one in some}, **more)


def test_nothing_is_said_of_what_is_the_same() -> None:
    same = (config(), jobs(job(1)))
    assert changes(same, (config(), jobs(replace(job(1), created_ms=5)))) == Changes()
    assert str(Changes()) == "nothing changed"


def test_jobs_are_told_apart_by_their_rows() -> None:
    before = (config(), jobs(job(1), job(2), job(3)))
    after = (config(), jobs(replace(job(1), schedule="0 * * * *", start_ms=0), job(4), refused={3: "no such thing"}))
    made = changes(before, after)
    assert made.added == ("job 4 (continuous bitfinex BTCUSD 1m), */5 * * * *",)
    assert made.removed == ("job 2 (continuous bitfinex BTCUSD 1m)",)
    assert made.changed == (
        "job 1 (continuous bitfinex BTCUSD 1m): schedule */5 * * * * -> 0 * * * *, "
        "start none -> 1970-01-01T00:00:00+00:00",
    )
    assert made.refused == ("job 3: no such thing",), "it is not said twice"
    assert str(made) == "1 added, 1 changed, 1 removed, 1 refused"


def test_settings_are_taken_over_or_wait_and_secrets_stay_hidden() -> None:
    before = (config(), jobs())
    after = (
        config(
            '[database]\nurl = "postgresql://me:canary-1@host/x"\n[engine]\ndrain_s = 5\n'
            '[exchanges.bitfinex]\nproxy = "http://me:canary-2@host:1"\n'
        ),
        jobs(),
    )
    made = changes(before, after)
    assert made.settings == (
        "exchanges.bitfinex.proxy: default -> http://me:***@host:1", "engine.drain_s: 20.0 -> 5.0",
    )  # fmt: skip
    assert made.needs_restart[0] == "database.url: default -> postgresql://me:***@host/x"
    assert "canary" not in str(made.shape())


def test_a_password_that_alone_has_changed_is_a_change() -> None:
    text = '[database]\nurl = "postgresql://me:{}@host/x"\n'
    made = changes((config(text.format("one")), jobs()), (config(text.format("two")), jobs()))
    assert made.needs_restart == ("database.url: postgresql://me:***@host/x -> postgresql://me:***@host/x",)


def test_a_lane_is_opened_anew_for_what_it_was_opened_with_and_not_for_its_rate() -> None:
    rate = config("[exchanges.bitfinex]\nrequests_per_minute = 5\n")
    page = config("[exchanges.bitfinex]\npage_limit = 5\n")
    assert reopened(config(), rate) == frozenset()
    assert reopened(config(), page) == {"bitfinex"}
    assert reopened(config(), config("[exchanges.binance]\narchive = false\n")) == {"binance"}
