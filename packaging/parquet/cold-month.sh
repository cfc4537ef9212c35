#!/bin/sh
# A month of a series as Parquet, for DuckDB and whatever else reads it:
#
#     DATABASE_URL=postgresql://marketd_reader@db1/marketd cold-month.sh bitfinex BTCUSD 1m 2023-01 /srv/cold
#
# writes /srv/cold/exchange=bitfinex/symbol=BTCUSD/timeframe=1m/2023-01.parquet. Needs psql and duckdb. Only what marketd
# calls complete is written, from one look at the database, and only once the file says the same as the table: number of
# rows and sums of all columns, to the last digit. Exit code 1: it is not complete, or the file is not the table.
set -eu

if [ $# -ne 5 ]; then
    echo "usage: cold-month.sh EXCHANGE SYMBOL TIMEFRAME YYYY-MM FOLDER" >&2
    exit 2
fi
exchange=$1 symbol=$2 timeframe=$3 month=$4 folder=$5
case $month in
    [0-9][0-9][0-9][0-9]-[01][0-9]) ;;
    *)
        echo "cold-month.sh: $month is not a month such as 2023-01" >&2
        exit 2
        ;;
esac

into="$folder/exchange=$exchange/symbol=$symbol/timeframe=$timeframe"
mkdir -p "$into"
into=$(cd "$into" && pwd)
scratch=$(mktemp -d "$into/.$month.XXXXXX")
trap 'rm -rf "$scratch"' EXIT

psql --no-psqlrc --quiet --tuples-only --no-align --set ON_ERROR_STOP=1 \
    --set exchange="$exchange" --set symbol="$symbol" --set timeframe="$timeframe" --set month="$month-01" \
    --set candles="$scratch/candles.csv" --set told_complete="$scratch/told.complete" \
    --set told_sums="$scratch/told.sums" "$DATABASE_URL" <<'SQL'
SET TIME ZONE 'UTC';
SET DateStyle = 'ISO';
BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY;
SELECT coalesce(range_agg(tstzrange(start_time, end_time)), '{}') @> tstzrange(:'month'::timestamptz, :'month'::timestamptz + interval '1 month')
FROM candle_coverage_times
WHERE exchange = :'exchange' AND symbol = :'symbol' AND timeframe = :'timeframe'
  AND start_time < :'month'::timestamptz + interval '1 month' AND end_time > :'month'::timestamptz
\g :told_complete
SELECT count(*), coalesce(sum(open), 0)::numeric(60, 12), coalesce(sum(high), 0)::numeric(60, 12), coalesce(sum(low), 0)::numeric(60, 12),
       coalesce(sum(close), 0)::numeric(60, 12), coalesce(sum(volume), 0)::numeric(60, 12),
       coalesce(max(greatest(scale(open), scale(high), scale(low), scale(close), scale(volume))), 0) <= 12
FROM candles
WHERE exchange = :'exchange' AND symbol = :'symbol' AND timeframe = :'timeframe'
  AND open_time >= :'month'::timestamptz AND open_time < :'month'::timestamptz + interval '1 month'
\g :told_sums
COPY (
    SELECT open_time, close_time, open, high, low, close, volume FROM candles
    WHERE exchange = :'exchange' AND symbol = :'symbol' AND timeframe = :'timeframe'
      AND open_time >= :'month'::timestamptz AND open_time < :'month'::timestamptz + interval '1 month'
    ORDER BY open_time
) TO STDOUT (FORMAT csv) \g :candles
COMMIT;
SQL

if [ "$(cat "$scratch/told.complete")" != t ]; then
    echo "cold-month.sh: $exchange $symbol $timeframe is not complete in $month: nothing was written" >&2
    exit 1
fi

cd "$scratch"
duckdb -batch -bail -noheader -list -c "
COPY (
    SELECT * FROM read_csv('candles.csv', header = false, columns = {
        'open_time': 'TIMESTAMPTZ', 'close_time': 'TIMESTAMPTZ', 'open': 'DECIMAL(38, 12)', 'high': 'DECIMAL(38, 12)',
        'low': 'DECIMAL(38, 12)', 'close': 'DECIMAL(38, 12)', 'volume': 'DECIMAL(38, 12)'
    })
) TO 'candles.parquet' (FORMAT parquet, COMPRESSION zstd);" >/dev/null

sums=$(duckdb -batch -bail -noheader -list -c "
SELECT count(*), coalesce(sum(open), 0)::DECIMAL(38, 12), coalesce(sum(high), 0)::DECIMAL(38, 12), coalesce(sum(low), 0)::DECIMAL(38, 12),
       coalesce(sum(close), 0)::DECIMAL(38, 12), coalesce(sum(volume), 0)::DECIMAL(38, 12), 't'
FROM 'candles.parquet';")
if [ "$sums" != "$(cat "$scratch/told.sums")" ]; then
    echo "cold-month.sh: the file says $sums, the table $(cat "$scratch/told.sums"): nothing was written" >&2
    exit 1
fi
mv candles.parquet "$into/$month.parquet"
echo "$into/$month.parquet: ${sums%%|*} candles"
