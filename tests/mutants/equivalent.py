"""Mutants that no test can find, since they change nothing that could be told: by module, name and reason."""

_SPEED = "either way to compute it is right: which one is taken is a matter of speed"
_MEMBER = "where they differ the number is a member, and was returned above"
_SAME = "where they differ both ways give the same ranges"
_STRICT = "columns of one page have one length, and only a mistake in the program could change that"
_START = "every question to the iterator names its start, so where it stands is never read"
_ABSENT = "a lost interval has no row, so none is found inside of one"

_WITHIN = "no candle opens within the time by which the bound moves"
_ROUNDED = "a text of so many digits comes out the same either way"
_MESSAGE = "only the length of a message"

EQUIVALENT: dict[str, dict[str, str]] = {
    "blocks": {"module: CHUNK = 50 -> CHUNK = 51": _SPEED},
    "ranges": {
        "module: _FEW = 3 -> _FEW = 4": _SPEED,
        "Ranges.__or__: len(self.spans) > len(other.spans) -> len(self.spans) >= len(other.spans)": _SPEED,
        "Ranges.__or__: len(self.spans) > len(other.spans) -> len(self.spans) <= len(other.spans)": _SPEED,
        "Ranges.__or__: len(few) <= _FEW -> len(few) < _FEW": _SPEED,
        "Ranges.__or__: len(few) <= _FEW -> len(few) > _FEW": _SPEED,
        "Ranges.__and__: len(self.spans) > len(other.spans) -> len(self.spans) >= len(other.spans)": _SPEED,
        "Ranges.__and__: len(self.spans) > len(other.spans) -> len(self.spans) <= len(other.spans)": _SPEED,
        "Ranges.__and__: len(few) <= _FEW -> len(few) < _FEW": _SPEED,
        "Ranges.__and__: len(few) <= _FEW -> len(few) > _FEW": _SPEED,
        "Ranges.__sub__: not other.spans or not self.spans -> not other.spans and (not self.spans)": _SPEED,
        "Ranges.__sub__: not other.spans or not self.spans -> not self.spans": _SPEED,
        "Ranges.__sub__: not other.spans or not self.spans -> not other.spans": _SPEED,
        "Ranges.__sub__: len(other.spans) <= _FEW -> len(other.spans) < _FEW": _SPEED,
        "Ranges.__sub__: len(other.spans) <= _FEW -> len(other.spans) > _FEW": _SPEED,
        "Ranges.at_or_after: bisect_right(self.spans, number, key=_start) -> bisect_left(self.spans, number, key=_start)": _MEMBER,  # noqa: E501
        "_within: not found or (found[0][0] >= start and found[-1][1] <= end) -> not found": _SAME,
        "_within: found[0][0] >= start -> found[0][0] > start": _SAME,
        "_within: found[-1][1] <= end -> found[-1][1] < end": _SAME,
        "_without: bisect_right(spans, start, key=_end) -> bisect_left(spans, start, key=_end)": _SAME,
        "_without: bisect_left(spans, end, key=_start) -> bisect_right(spans, end, key=_start)": _SAME,
        "_joined: span[1] > current[1] -> span[1] >= current[1]": _SAME,
        "_common: left[i][1] < right[j][1] -> left[i][1] <= right[j][1]": _SAME,
        "_remaining: j < len(right) -> j >= len(right)": _SPEED,
        "_remaining: right[j][1] <= start -> right[j][1] < start": _SAME,
        "_remaining: right[k][0] < end -> right[k][0] <= end": _SAME,
    },
    "planner": {
        "_near: candle - edge -> edge - candle": "it is the distance that counts",
        "rows_at_most: span[1] - 1 -> span[1]": "a block that begins where the span ends adds nothing",
        "edges_after: span[0] -> span[1] #3": "the answer has no row above the start of what is left",
    },
    "page": {
        "module: b'0' * 16 -> _LONG = b'0'": _SPEED,
        "_ordered: True -> False": _SPEED,
        "_ordered: True -> False #2": _SPEED,
        "_ordered: -1 -> -2": "there is no number for the position before the first, so it is never asked for",
        "_numbers: True -> False": _STRICT,
        "_plausible: True -> False": _STRICT,
        "_plausible: True -> False #2": _STRICT,
        "_in_order: True -> False": _STRICT,
        "_in_order: True -> False #2": _STRICT,
        "_numbers: ms - anchor -> anchor - ms #2": "only whether the remainder is zero counts",
    },
    "cron": {
        "module: 15 -> 16": "a week's pattern has shown its longest pause after either",
        "Cron.next_after: False -> True": _START,
        "Cron.latest_at_or_before: False -> True": _START,
        "_built: False -> True": _START,
        "longest_step_s: 0 -> 1": "where there is one firing a day, the step to the next day is longer",
        "longest_step_s: cron.horizon_days == 1 -> cron.horizon_days == 2": _SPEED,
        "CronTable.due: now_ms < self.seen_ms -> now_ms <= self.seen_ms": "at the same time the next times are the same",  # noqa: E501
    },
    "ledger": {
        "_proof: answer.dropped & covered -> answer.dropped": "the check of the page covers every row of the ask that has closed",  # noqa: E501
        "audit: _Proof(at_ms, 0, NOTHING, found, found) -> _Proof(at_ms, 1, NOTHING, found, found)": "rows settle at once: nothing of this proof waits",  # noqa: E501
        "rebuild: _Proof(at_ms, 0, NOTHING, present, present) -> _Proof(at_ms, 1, NOTHING, present, present)": "the same",  # noqa: E501
        "_confirmed: block.answered_ms or 0 -> block.answered_ms or 1": "no answer came in the first millisecond of 1970",  # noqa: E501
        "_stretches: following >= span[0] -> following > span[0]": _ABSENT,
        "_stretches: span[0] -> span[1]": _ABSENT,
    },
    "exchanges.binance": {"candles_request: end_ms - 1 -> end_ms - 2": _WITHIN},
    "exchanges.bitfinex": {
        "candles_request: end_ms - 1 -> end_ms - 2": _WITHIN,
        "read_candles: :80 -> :81": _MESSAGE,
    },
    "exchanges.bybit": {
        "candles_request: TIMEFRAMES[timeframe].step_s * 1000 -> TIMEFRAMES[timeframe].step_s": _WITHIN,
    },
    "exchanges.coinbase": {
        "candles_request: int(step) * 1000 -> int(step)": _WITHIN,
        "_plain: len(digits) <= _EXACT.prec -> len(digits) < _EXACT.prec": _ROUNDED,
        "_plain: _EXACT.prec < len(value.as_tuple().digits) <= _FLOAT_DIGITS -> _EXACT.prec <= len(value.as_tuple().digits) <= _FLOAT_DIGITS": _ROUNDED,  # noqa: E501
    },
    "exchanges.hyperliquid": {"candles_request: end_ms - 1 -> end_ms - 2": _WITHIN},
    "exchanges.kraken": {"candles_request: start_ms // 1000 - 1 -> start_ms // 1000 - 2": _WITHIN},
    "exchanges.kucoin": {"candles_request: last_s + 1 -> last_s + 2": _WITHIN},
    "exchanges.okx": {"candles_request: start_ms - 1 -> start_ms - 2": _WITHIN},
}
