#!/usr/bin/env bash
# Run once by the image of PostgreSQL, after setup.sql: the roles get the passwords that stand in the URLs.
set -euo pipefail
folder=${SECRETS:-/run/secrets}

for url in owner_url database_url; do
    # postgresql://ROLE:PASSWORD@…
    IFS=:@/ read -r _ _ _ role password _ <"$folder/$url"
    psql --no-psqlrc --quiet --set ON_ERROR_STOP=1 --set role="$role" --set password="$password" --username "${POSTGRES_USER:-postgres}" <<'SQL'
ALTER ROLE :"role" PASSWORD :'password';
SQL
done
