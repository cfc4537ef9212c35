-- Giving candles a table for each year, and taking whole years away. The work itself is in functions: it is for the owner alone.

-- name: partition_state
-- params:
-- Candles are those that the ledger counts, or more where the server has counted more; bytes are those of the table as it is, or of its tables.
SELECT c.relkind = 'p' AS partitioned, to_regclass('candles_next') IS NOT NULL AS begun,
       greatest((SELECT coalesce(sum(stored), 0) FROM series_figures), c.reltuples)::bigint AS candles,
       coalesce(parts.bytes, pg_total_relation_size('candles'))::bigint AS bytes, greatest(parts.tables, 1) AS tables
FROM pg_class c CROSS JOIN (
    SELECT sum(pg_total_relation_size(t.relid)) AS bytes, count(*) AS tables FROM pg_partition_tree(to_regclass('candles')) AS t WHERE t.isleaf
) AS parts
WHERE c.oid = to_regclass('candles')

-- name: partition_owner
-- params:
-- For the rest of the transaction: what is made belongs to whom the table belongs.
SELECT set_config('role', (SELECT pg_get_userbyid(relowner) FROM pg_class WHERE oid = to_regclass('candles')), true)

-- name: partition_obstacles
-- params:
-- What belongs to the table and could not go over to another one. Plain views can.
SELECT format('trigger %s', t.tgname) AS obstacle FROM pg_trigger t
WHERE t.tgrelid = to_regclass('candles') AND NOT t.tgisinternal AND t.tgname NOT LIKE 'candles\_mirror\_%'
UNION ALL
SELECT format('foreign key %s of %s', f.conname, f.conrelid::regclass) FROM pg_constraint f WHERE f.contype = 'f' AND f.confrelid = to_regclass('candles')
UNION ALL
SELECT format('foreign key %s', f.conname) FROM pg_constraint f WHERE f.contype = 'f' AND f.conrelid = to_regclass('candles')
UNION ALL
SELECT format('publication %s', p.pubname) FROM pg_publication_rel r JOIN pg_publication p ON p.oid = r.prpubid WHERE r.prrelid = to_regclass('candles')
UNION ALL
SELECT format('row security policy %s', p.polname) FROM pg_policy p WHERE p.polrelid = to_regclass('candles')
UNION ALL
SELECT format('sequence %s of one of its columns', d.objid::regclass) FROM pg_depend d JOIN pg_class s ON s.oid = d.objid AND s.relkind = 'S'
WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass AND d.refobjid = to_regclass('candles') AND d.refobjsubid > 0
UNION ALL
SELECT DISTINCT format('materialized view %s', v.oid::regclass)
FROM pg_depend d JOIN pg_rewrite r ON d.classid = 'pg_rewrite'::regclass AND r.oid = d.objid JOIN pg_class v ON v.oid = r.ev_class
WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid = to_regclass('candles') AND v.relkind = 'm'
UNION ALL
SELECT DISTINCT format('%s', pg_describe_object(d.classid, d.objid, d.objsubid))
FROM pg_depend d JOIN pg_class c ON c.oid = to_regclass('candles')
WHERE d.deptype = 'n' AND d.classid <> 'pg_rewrite'::regclass AND d.classid <> 'pg_constraint'::regclass AND d.classid <> 'pg_trigger'::regclass
  AND ((d.refclassid = 'pg_class'::regclass AND d.refobjid = c.oid) OR (d.refclassid = 'pg_type'::regclass AND d.refobjid = c.reltype))
ORDER BY obstacle

-- name: partition_begin
-- params:
SELECT marketd_begin_partitioning()

-- name: partition_copy
-- params: most integer
SELECT marketd_copy_candles($1::integer)

-- name: partition_finish
-- params:
SELECT marketd_finish_partitioning()

-- name: partition_abandon
-- params:
SELECT marketd_abandon_partitioning()

-- name: partition_years
-- params:
SELECT marketd_add_years()

-- name: partition_reached
-- params:
SELECT marketd_partitioning_reached()

-- name: partition_series
-- params:
SELECT exchange, symbol, timeframe FROM marketd_series_of_both() ORDER BY exchange, symbol, timeframe

-- name: partition_same
-- params: exchange text, symbol text, timeframe text
SELECT marketd_same_candles($1::text, $2::text, $3::text)

-- name: partition_analyse
-- params:
SELECT marketd_analyse_candles()
