-- Which instance of marketd a database belongs to, so that no other one works on it by mistake: production's URL in the configuration of
-- a trial. `marketd migrate` writes the name; whoever renames an instance does so here.

CREATE TABLE marketd_instance (
    single boolean PRIMARY KEY DEFAULT true CHECK (single),
    name text NOT NULL CHECK (name ~ '^[a-z0-9][a-z0-9_.-]{0,62}$'),
    named_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE marketd_instance IS 'One row at most: [database] instance of those who may work here. No row: whoever names none.';

GRANT SELECT ON marketd_instance TO marketd_run, marketd_read;
