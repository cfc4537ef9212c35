#!/usr/bin/env bash
# Makes the passwords of compose.yaml, once: packaging/container/secrets/. The folder is its owner's alone; the files in it
# are readable, since the containers that get one each have users of their own.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

if [[ -e secrets ]]; then
    echo "$PWD/secrets is there already; the database knows those passwords" >&2
    exit 1
fi
password() {
    od --address-radix=n --format=x1 --read-bytes=24 /dev/urandom | tr -d ' \n'
}
mkdir --mode=0700 secrets
password >secrets/superuser_password
echo "postgresql://marketd_owner:$(password)@database:5432/marketd" >secrets/owner_url
echo "postgresql://marketd_daemon:$(password)@database:5432/marketd" >secrets/database_url
chmod 0444 secrets/*
