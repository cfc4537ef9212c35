-- Every table and column says what it holds: psql shows it (\d+ candles), and docs/tables.md is made of it.

COMMENT ON TABLE candle_gaps IS 'Holes: intervals that are wanted and owed, each with its cause. A gap is closed by proof only.';
COMMENT ON TABLE market_data_jobs IS 'What marketd is to do; edited by SQL, by marketd jobs, or by a job file.';
COMMENT ON TABLE market_data_job_runs IS 'What was done: one row for each firing of a job, and for each order.';
COMMENT ON TABLE marketd_schema IS 'The migrations that were applied.';

COMMENT ON COLUMN candles.open_time IS 'When the interval opens, UTC; with exchange, symbol and timeframe the key.';
COMMENT ON COLUMN candles.close_time IS 'When it ends: the open time of the next one.';
COMMENT ON COLUMN candles.open IS 'Price of its first trade.';
COMMENT ON COLUMN candles.high IS 'Highest price.';
COMMENT ON COLUMN candles.low IS 'Lowest price.';
COMMENT ON COLUMN candles.close IS 'Price of its last trade.';
COMMENT ON COLUMN candles.volume IS 'What was traded, in units of the base currency.';

COMMENT ON COLUMN candle_revisions.id IS 'Ascending.';
COMMENT ON COLUMN candle_revisions.open_time IS 'When the candle opens.';
COMMENT ON COLUMN candle_revisions.kind IS 'revised: other values were sent later; vanished: the candle is no longer sent.';
COMMENT ON COLUMN candle_revisions.old_answered_at IS 'The exchange''s time of the answer that the old values came with, where it is known.';
COMMENT ON COLUMN candle_revisions.new_answered_at IS 'The exchange''s time of the answer that changed it.';
COMMENT ON COLUMN candle_revisions.old_open IS 'Its open until then.';
COMMENT ON COLUMN candle_revisions.old_high IS 'Its high until then.';
COMMENT ON COLUMN candle_revisions.old_low IS 'Its low until then.';
COMMENT ON COLUMN candle_revisions.old_close IS 'Its close until then.';
COMMENT ON COLUMN candle_revisions.old_volume IS 'Its volume until then.';
COMMENT ON COLUMN candle_revisions.new_open IS 'Its open since, as it stands in candles; NULL where the candle vanished.';
COMMENT ON COLUMN candle_revisions.new_high IS 'Its high since, as it stands in candles; NULL where the candle vanished.';
COMMENT ON COLUMN candle_revisions.new_low IS 'Its low since, as it stands in candles; NULL where the candle vanished.';
COMMENT ON COLUMN candle_revisions.new_close IS 'Its close since, as it stands in candles; NULL where the candle vanished.';
COMMENT ON COLUMN candle_revisions.new_volume IS 'Its volume since, as it stands in candles; NULL where the candle vanished.';

COMMENT ON COLUMN candle_coverage.block IS 'Number of the block: interval number divided by 1440.';
COMMENT ON COLUMN candle_coverage.answered IS 'Intervals that were answered, by number.';
COMMENT ON COLUMN candle_coverage.empty_once IS 'Intervals for which one answer had no candle.';
COMMENT ON COLUMN candle_coverage.empty_confirmed IS 'Intervals for which a second answer, apart in time, had none either.';
COMMENT ON COLUMN candle_coverage.unsettled IS 'Intervals with a candle that was answered so soon after its close that it is read once more.';
COMMENT ON COLUMN candle_coverage.stored IS 'How many candles the block has.';
COMMENT ON COLUMN candle_coverage.answered_at IS 'The exchange''s time of the newest answer.';
COMMENT ON COLUMN candle_coverage.look_at IS 'When the block is to be looked at again: second answers for empties, unsettled candles.';
COMMENT ON COLUMN candle_coverage.look_step IS 'How many such looks have been made; the pause grows with it.';
COMMENT ON COLUMN candle_coverage.audited_at IS 'When marketd verify last held the block against the candles.';

COMMENT ON COLUMN candle_coverage_times.start_time IS 'When the first interval of the run opens.';
COMMENT ON COLUMN candle_coverage_times.end_time IS 'When its last one ends.';
COMMENT ON COLUMN candle_coverage_times.state IS 'stored, empty_once or empty_confirmed.';

COMMENT ON COLUMN candle_gaps.id IS 'Ascending.';
COMMENT ON COLUMN candle_gaps.gap_start IS 'When the first interval that is owed opens.';
COMMENT ON COLUMN candle_gaps.gap_end IS 'When the last one ends.';
COMMENT ON COLUMN candle_gaps.detected_at IS 'When the gap was opened.';
COMMENT ON COLUMN candle_gaps.repaired_at IS 'When it was closed; NULL: open.';
COMMENT ON COLUMN candle_gaps.cause IS 'not_asked: inside the wanted history, but skipped. failed: asked, not usably answered. late: recent, and does not come. lost: a stored candle has disappeared. suspect: a silence too long to be believed before a second answer a day later.';
COMMENT ON COLUMN candle_gaps.resolution IS 'How it was closed: stored, empty, mixed, or not_wanted any more.';
COMMENT ON COLUMN candle_gaps.filled IS 'How many of its intervals got a candle.';
COMMENT ON COLUMN candle_gaps.emptied IS 'How many proved to be without a trade.';
COMMENT ON COLUMN candle_gaps.attempts IS 'How often it was asked for.';
COMMENT ON COLUMN candle_gaps.next_attempt_at IS 'Not asked for before.';
COMMENT ON COLUMN candle_gaps.last_error IS 'Why the last attempt failed.';
COMMENT ON COLUMN candle_gaps.notes IS 'For those who look after it; marketd does not read it.';
COMMENT ON COLUMN candle_gaps.expected_open_time IS 'gap_start under another name.';
COMMENT ON COLUMN candle_gaps.expected_close_time IS 'gap_end under another name.';
COMMENT ON COLUMN candle_gaps.missing_size IS 'How many intervals missing holds.';

COMMENT ON COLUMN market_series.derived_from IS 'Timeframe that it is built from in the database; NULL: asked for.';
COMMENT ON COLUMN market_series.first_open_time IS 'The first candle that the exchange has; NULL: not looked up, or it has none yet.';
COMMENT ON COLUMN market_series.first_asked_at IS 'When that was looked up.';
COMMENT ON COLUMN market_series.known_since IS 'When the series became known here.';

COMMENT ON COLUMN market_data_jobs.id IS 'Ascending.';
COMMENT ON COLUMN market_data_jobs.timeframe IS 'NULL: every timeframe of the configuration.';
COMMENT ON COLUMN market_data_jobs.job_type IS 'backfill: history. continuous: what has just closed. gap_repair: open gaps, and second looks.';
COMMENT ON COLUMN market_data_jobs.schedule IS 'Cron expression of five fields, UTC; NULL: whenever there is something to do.';
COMMENT ON COLUMN market_data_jobs.start_time IS 'Where wanted history begins; NULL: at the first candle that the exchange has.';
COMMENT ON COLUMN market_data_jobs.end_time IS 'Where it ends; NULL: it does not.';
COMMENT ON COLUMN market_data_jobs.status IS 'What marketd says of it: how its last run ended, idle, not needed, or refused, with the reason in last_error.';
COMMENT ON COLUMN market_data_jobs.last_error IS 'Why the row is not worked.';
COMMENT ON COLUMN market_data_jobs.created_at IS 'When the row was made.';
COMMENT ON COLUMN market_data_jobs.updated_at IS 'When it was last changed.';
COMMENT ON COLUMN market_data_jobs.origin IS 'Who made it: file, sql, cli, auto (marketd itself), order (by hand, once).';
COMMENT ON COLUMN market_data_jobs.owner IS 'Origin file: the host whose job file it is of.';
COMMENT ON COLUMN market_data_jobs.catch_up IS 'What is done about firings that were missed: one, for all of them, or none.';
COMMENT ON COLUMN market_data_jobs.timeout_s IS 'A run ends after so many seconds; NULL: the configuration''s.';
COMMENT ON COLUMN market_data_jobs.freshness_s IS 'How far its series may be behind; NULL: interval, longest step of the schedule and the settle time.';
COMMENT ON COLUMN market_data_jobs.refetch IS 'Orders: ask again for what is answered.';
COMMENT ON COLUMN market_data_jobs.oldest_first IS 'Orders: begin with the oldest.';
COMMENT ON COLUMN market_data_jobs.most_gaps IS 'Orders: gaps to repair at most.';
COMMENT ON COLUMN market_data_jobs.exchange IS 'Of which exchange.';

COMMENT ON COLUMN market_data_job_runs.id IS 'Ascending.';
COMMENT ON COLUMN market_data_job_runs.job_id IS 'Whose run it is.';
COMMENT ON COLUMN market_data_job_runs.scheduled_for IS 'The firing that it is of; one run for each.';
COMMENT ON COLUMN market_data_job_runs.started_at IS 'NULL: it never began.';
COMMENT ON COLUMN market_data_job_runs.completed_at IS 'NULL while it runs.';
COMMENT ON COLUMN market_data_job_runs.status IS 'running, success, partial, failed, interrupted, skipped.';
COMMENT ON COLUMN market_data_job_runs.epoch IS 'Of the lease that it ran under.';
COMMENT ON COLUMN market_data_job_runs.requests IS 'Requests that were sent.';
COMMENT ON COLUMN market_data_job_runs.candles_fetched IS 'Candles in the answers.';
COMMENT ON COLUMN market_data_job_runs.candles_inserted IS 'Those that were new.';
COMMENT ON COLUMN market_data_job_runs.candles_updated IS 'Those that had changed.';
COMMENT ON COLUMN market_data_job_runs.empties IS 'Intervals that were answered without a candle.';
COMMENT ON COLUMN market_data_job_runs.gaps_opened IS 'Gaps that it found.';
COMMENT ON COLUMN market_data_job_runs.gaps_closed IS 'Gaps that it closed.';
COMMENT ON COLUMN market_data_job_runs.last_open_time IS 'The last interval that it worked on.';
COMMENT ON COLUMN market_data_job_runs.error_message IS 'Why it failed, was partial or skipped.';
COMMENT ON COLUMN market_data_job_runs.recorded_at IS 'When the row was made.';
COMMENT ON COLUMN market_data_job_runs.finished_at IS 'completed_at under another name.';
COMMENT ON COLUMN market_data_job_runs.candles_upserted IS 'Inserted and updated ones.';
COMMENT ON COLUMN market_data_job_runs.last_error IS 'error_message under another name.';
COMMENT ON COLUMN market_data_job_runs.intervals_planned IS 'Intervals that it began with.';

COMMENT ON COLUMN exchange_leases.holder IS 'Host and process.';
COMMENT ON COLUMN exchange_leases.kind IS 'daemon or command.';
COMMENT ON COLUMN exchange_leases.epoch IS 'Counts the holders; a page of an older one is refused.';
COMMENT ON COLUMN exchange_leases.expires_at IS 'Until then nobody else may work on the exchange.';
COMMENT ON COLUMN exchange_leases.last_request_at IS 'When the last request was sent.';
COMMENT ON COLUMN exchange_leases.blocked_until IS 'The exchange asked for silence until then.';
COMMENT ON COLUMN exchange_leases.exchange IS 'Of which exchange.';

COMMENT ON COLUMN exchange_pauses.paused_until IS 'infinity: until marketd jobs resume.';
COMMENT ON COLUMN exchange_pauses.noted_at IS 'When the pause was given.';
COMMENT ON COLUMN exchange_pauses.exchange IS 'Of which exchange.';

COMMENT ON COLUMN exchange_budgets.per_minute IS 'Requests a minute.';
COMMENT ON COLUMN exchange_budgets.updated_at IS 'When it was written.';
COMMENT ON COLUMN exchange_budgets.exchange IS 'Of which exchange.';

COMMENT ON COLUMN exchange_turns.free_at IS 'When the next request may be sent.';
COMMENT ON COLUMN exchange_turns.taken IS 'Turns taken so far, by all programs.';
COMMENT ON COLUMN exchange_turns.exchange IS 'Of which exchange.';

COMMENT ON COLUMN marketd_instance.single IS 'Always true.';
COMMENT ON COLUMN marketd_instance.name IS 'The instance.';
COMMENT ON COLUMN marketd_instance.named_at IS 'Since when.';

COMMENT ON COLUMN marketd_pruned.kind IS 'What was taken away.';
COMMENT ON COLUMN marketd_pruned.until IS 'All of it that is older than this.';

COMMENT ON COLUMN marketd_schema.version IS 'Number of the migration.';
COMMENT ON COLUMN marketd_schema.name IS 'Its name.';
COMMENT ON COLUMN marketd_schema.sha256 IS 'Checksum of its text; another text of the same number is refused.';
COMMENT ON COLUMN marketd_schema.applied_at IS 'When it was applied.';

COMMENT ON COLUMN run_figures.hour IS 'In which the runs began.';
COMMENT ON COLUMN run_figures.success IS 'Runs that did all they were to do.';
COMMENT ON COLUMN run_figures.partial IS 'Runs that did part of it.';
COMMENT ON COLUMN run_figures.failed IS 'Runs that failed.';
COMMENT ON COLUMN run_figures.interrupted IS 'Runs that were cut off.';
COMMENT ON COLUMN run_figures.skipped IS 'Runs that were not begun.';
COMMENT ON COLUMN run_figures.candles IS 'Candles that they stored.';
COMMENT ON COLUMN run_figures.exchange IS 'Of which exchange.';

COMMENT ON COLUMN series_figures.answered IS 'Answered intervals.';
COMMENT ON COLUMN series_figures.stored IS 'Candles.';
COMMENT ON COLUMN series_figures.answered_start IS 'Number of the first answered interval.';

COMMENT ON COLUMN verify_runs.id IS 'Ascending.';
COMMENT ON COLUMN verify_runs.began_at IS 'When it began.';
COMMENT ON COLUMN verify_runs.ended_at IS 'When it ended.';
COMMENT ON COLUMN verify_runs.kind IS 'full, or a sample.';
COMMENT ON COLUMN verify_runs.pieces_known IS 'How many pieces there were.';
