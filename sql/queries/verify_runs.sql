-- What was found when the promises were last held against the tables.

-- name: record_verification
-- params: began_at timestamptz, ended_at timestamptz, kind text, pieces bigint, pieces_known bigint, violations text
-- A sample looks elsewhere: what the run before it has found stays until a full one does not find it any more.
INSERT INTO verify_runs (began_at, ended_at, kind, pieces, pieces_known, violations)
SELECT $1::timestamptz, $2::timestamptz, $3::text, $4::bigint, $5::bigint,
       CASE WHEN $3::text = 'sample'
            THEN coalesce((SELECT violations FROM verify_runs ORDER BY ended_at DESC, id DESC LIMIT 1), '{}') ELSE '{}' END
       || $6::text::jsonb

-- name: last_verification
-- params:
SELECT began_at, ended_at, kind, pieces, pieces_known, violations::text AS violations
FROM verify_runs ORDER BY ended_at DESC, id DESC LIMIT 1
