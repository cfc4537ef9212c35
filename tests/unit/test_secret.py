"""Secrets do not leave by any ordinary way, and foreign text is fit for a line."""

import copy
import json
import pickle

import pytest

from marketd.secret import MASK, Secret, masked, masked_dsn, password_of
from marketd.text import clean

CANARY = "S3cr3t-canary"


class TestSecret:
    def test_shows_as_stars_however_it_is_written(self) -> None:
        secret = Secret(CANARY)
        shown = [str(secret), repr(secret), f"{secret}", f"{secret!r:>8}", f"{secret:>5}", f"{[secret]}", "%s" % secret]  # noqa: UP031
        assert all(CANARY not in text and MASK in text for text in shown)

    def test_is_revealed_on_request_only(self) -> None:
        secret = Secret(CANARY)
        assert secret.reveal() == CANARY
        assert not hasattr(secret, "__dict__")

    @pytest.mark.parametrize("leave", [pickle.dumps, copy.copy, copy.deepcopy, json.dumps])
    def test_is_neither_pickled_copied_nor_serialised(self, leave: object) -> None:
        assert callable(leave)
        with pytest.raises(TypeError) as caught:
            leave(Secret(CANARY))
        assert CANARY not in str(caught.value)

    def test_equals_by_value_so_that_a_reload_sees_a_change(self) -> None:
        assert Secret("a") == Secret("a")
        assert Secret("a") != Secret("b")
        assert Secret("a") != "a"
        assert hash(Secret("a")) == hash(Secret("a"))


class TestMasked:
    @pytest.mark.parametrize(
        "dsn",
        [
            f"postgresql://user:{CANARY}@host:5432/db?sslmode=require",
            f"postgres://user:{CANARY}@/db?host=/run/postgresql",
            f"postgresql://:{CANARY}@host/db",
            f"postgresql://user:p@ss/{CANARY}#?@host/db",
            f"postgresql://user:two words {CANARY}@host/db",
            f"postgresql://host/db?user=u&password={CANARY}",
            f"host=h user=u password={CANARY} dbname=d",
            f"host=h password='with space \\' {CANARY}' dbname=d",
            f'host=h password = "{CANARY}"',
            f"sslpassword={CANARY} host=h",
            f"http://user:{CANARY}@proxy:3128",
        ],
    )
    def test_no_password_of_a_dsn_is_left(self, dsn: str) -> None:
        shown = masked_dsn(dsn)
        assert CANARY not in shown
        assert MASK in shown

    def test_the_rest_of_a_dsn_stays_readable(self) -> None:
        assert masked_dsn(f"postgresql://user:{CANARY}@host:5432/db") == "postgresql://user:***@host:5432/db"
        assert masked_dsn("postgresql://user@host:5432/db") == "postgresql://user@host:5432/db"
        assert masked_dsn("postgresql:///db?host=/run/pg") == "postgresql:///db?host=/run/pg"
        assert masked_dsn(f"host=h password={CANARY} dbname=d") == "host=h password=*** dbname=d"

    def test_a_sentence_keeps_its_words(self) -> None:
        text = f"cannot reach postgresql://u:{CANARY}@h/d for user@host, try later"
        assert masked(text) == "cannot reach postgresql://u:***@h/d for user@host, try later"


class TestClean:
    @pytest.mark.parametrize(
        ("text", "line"),
        [
            ("plain", "plain"),
            ("two\n2026 ERROR fake\r\n", "two 2026 ERROR fake"),
            ("\x1b[2J\x1b[31mred\x1b[0m", "red"),
            ("\x1b]0;title\x07after", "after"),
            ("nul\x00 bell\x07 \x9b2J", "nul? bell? ?2J"),
            ("lone \ud800 surrogate", "lone ? surrogate"),
            ("right\u202eleft", "right?left"),
            ("Zürich 東京", "Zürich 東京"),
            ("\t a  b\u00a0c ", "a b c"),
            ("", ""),
        ],
    )
    def test_makes_one_printable_line(self, text: str, line: str) -> None:
        assert clean(text) == line

    def test_cuts_with_a_mark(self) -> None:
        assert clean("x" * 201) == "x" * 199 + "…"
        assert clean("x" * 200) == "x" * 200
        assert clean("abcdef", limit=4) == "abc…"

    def test_of_a_megabyte_is_short_and_quick(self) -> None:
        assert len(clean("\x1b[2J" * 1_000_000)) <= 200
        assert len(clean("x" * 1_000_000)) == 200


@pytest.mark.parametrize(
    ("url", "password"),
    [
        ("postgresql://me:p%40ss@h:5432/db", "p@ss"),
        ("postgresql://me:pass@h1:1,h2:2/db", "pass"),
        ("postgresql://me@h/db", None),
        ("postgresql:///db?host=/run", None),
        ("postgresql://me:@h/db", None),
        ("postgresql:///db?host=/run&password=p%40ss&user=me", "p@ss"),
        ("postgresql:///db?password=&user=me", None),
    ],
)
def test_the_password_of_a_url(url: str, password: str | None) -> None:
    found = password_of(url)
    assert (None if found is None else found.reveal()) == password
