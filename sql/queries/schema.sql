-- The statements of migrations: which ones a database holds, and the row that each leaves.

-- name: schema_facts
-- params:
-- What decides whether this database can be used at all; `present` says whether the table of versions exists. It
-- reads the catalog as a table: to_regclass() may answer from before the lock was waited for.
SELECT current_setting('server_version_num')::integer AS server_version,
       current_setting('server_version') AS server_version_text,
       EXISTS (SELECT FROM pg_tables WHERE schemaname = current_schema() AND tablename = 'marketd_schema') AS present;

-- name: schema_create
-- params:
CREATE TABLE marketd_schema (
    version integer PRIMARY KEY,
    name text NOT NULL,
    sha256 text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- name: schema_patience
-- params:
-- A migration may take long once it works, but it waits a minute for a lock at most: readers queue behind it.
SELECT set_config('statement_timeout', '0', true),
       set_config('lock_timeout', '60s', true),
       set_config('idle_in_transaction_session_timeout', '0', true);

-- name: schema_lock
-- params: key bigint
-- One migrating process at a time, until the end of the transaction.
SELECT pg_advisory_xact_lock($1);

-- name: schema_applied
-- params:
SELECT version, name, sha256, applied_at FROM marketd_schema ORDER BY version;

-- name: schema_record
-- params: version integer, name text, sha256 text
INSERT INTO marketd_schema (version, name, sha256) VALUES ($1, $2, $3);

-- name: instance_known
-- params:
-- Whether this database can carry a name already.
SELECT EXISTS (SELECT FROM pg_tables WHERE schemaname = current_schema() AND tablename = 'marketd_instance');

-- name: instance_name
-- params:
SELECT name FROM marketd_instance;

-- name: instance_claim
-- params: name text
-- A name that is there stays.
INSERT INTO marketd_instance (name) VALUES ($1) ON CONFLICT DO NOTHING;

-- name: session_settings
-- params: names text[], settings text[]
-- For this transaction only: behind a pooler the next one may have another connection.
SELECT set_config(name, setting, true) FROM unnest($1::text[], $2::text[]) AS wanted (name, setting);

-- name: session_lock_timeout
-- params:
-- In milliseconds, as every session of marketd sets it for itself; a pooler that swallows such settings shows another one.
SELECT setting FROM pg_settings WHERE name = 'lock_timeout';
