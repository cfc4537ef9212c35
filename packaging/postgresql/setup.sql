-- The database and the roles of marketd, made once by a superuser, before the first `marketd migrate`:
--
--     psql -v database=marketd -f packaging/postgresql/setup.sql postgres
--     DATABASE_URL=postgresql://marketd_owner@localhost/marketd marketd migrate
--
-- Passwords are not set here: `\password marketd_daemon` in psql, or rules in pg_hba.conf. Run it again at will.
\set ON_ERROR_STOP on
\if :{?database} \else \set database marketd \endif

-- Owns the schema and migrates; may make the group roles that migrations grant to.
SELECT 'CREATE ROLE marketd_owner LOGIN CREATEROLE' WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'marketd_owner') \gexec
-- Group roles, and a login for the daemon and the commands that write, one for those that read, and one that takes away what is old.
SELECT format('CREATE ROLE %I NOLOGIN', name) FROM unnest(ARRAY['marketd_run', 'marketd_read', 'marketd_turns', 'marketd_retain']) AS name
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name) \gexec
SELECT format('CREATE ROLE %I LOGIN IN ROLE %I', name, member)
FROM (VALUES ('marketd_daemon', 'marketd_run'), ('marketd_reader', 'marketd_read'), ('marketd_keeper', 'marketd_retain')) AS wanted (name, member)
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name) \gexec
-- Logins that were there already; doing it again does nothing.
GRANT marketd_run TO marketd_daemon;
GRANT marketd_read TO marketd_reader;
GRANT marketd_retain TO marketd_keeper;

SELECT format('CREATE DATABASE %I OWNER marketd_owner ENCODING ''UTF8'' TEMPLATE template0', :'database')
WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = :'database') \gexec
-- Nobody connects but those named; a role that only reads cannot hold a lock for long.
SELECT format('REVOKE ALL ON DATABASE %I FROM PUBLIC', :'database') \gexec
SELECT format('GRANT CONNECT ON DATABASE %I TO marketd_run, marketd_read, marketd_turns, marketd_retain', :'database') \gexec
SELECT format('GRANT TEMPORARY ON DATABASE %I TO marketd_run', :'database') \gexec
SELECT format('ALTER ROLE marketd_reader IN DATABASE %I SET default_transaction_read_only = on', :'database') \gexec

\connect :database
REVOKE ALL ON SCHEMA public FROM PUBLIC;
ALTER SCHEMA public OWNER TO marketd_owner;
CREATE EXTENSION IF NOT EXISTS btree_gist;
