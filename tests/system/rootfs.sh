#!/usr/bin/env bash
# Makes the root file system that the tests boot, of the same Debian as this host, and says where it is. It lies below
# build/ and is made anew when this script changes. Needs root and mmdebstrap; packages come from the mirrors that apt of
# this host uses.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

packages=systemd,systemd-sysv,dbus,dbus-user-session,libpam-systemd,ca-certificates,procps,python3,postgresql

codename=$(sed -n "s/^VERSION_CODENAME=//p" /etc/os-release)
key=$(cat tests/system/rootfs.sh /etc/debian_version | sha256sum | cut -c1-12)
folder=$PWD/build/system
root=$folder/rootfs-$key
if [[ -d $root ]]; then
    echo "$root"
    exit
fi

sources() {
    apt-get indextargets --format "deb \$(REPO_URI) \$(RELEASE) \$(COMPONENT)" 'Created-By: Packages' 'Origin: Debian' |
        sort --unique | awk -v codename="$codename" '$3 ~ "^" codename'
}
if [[ -z $(sources) ]]; then
    apt-get update --quiet=2 >&2
fi
if [[ -z $(sources) ]]; then
    echo "apt of this host knows no mirror of Debian $codename" >&2
    exit 1
fi
options=()
while read -r option; do  # the way to the mirrors: proxies, time-outs
    options+=(--aptopt "$option")
done < <(apt-config dump --no-empty --format '%f "%v";%n' Acquire::http Acquire::https)

mkdir -p "$folder"
rm -rf --one-file-system "$folder"/rootfs-* "$folder"/making-*
making=$folder/making-$key
sources | mmdebstrap --quiet --mode=root --variant=apt --include="$packages" --aptopt 'APT::Install-Recommends "false"' \
    "${options[@]}" "$codename" "$making" - >&2

# Nothing here has to survive a power cut, nothing is fetched, and no line of the journal may be dropped.
for conf in "$making"/etc/postgresql/*/main; do
    printf 'fsync = off\nsynchronous_commit = off\nfull_page_writes = off\n' >"$conf/conf.d/tests.conf"
done
mkdir -p "$making/etc/systemd/journald.conf.d"
printf '[Journal]\nRateLimitBurst=0\nStorage=volatile\n' >"$making/etc/systemd/journald.conf.d/tests.conf"
for timer in apt-daily apt-daily-upgrade dpkg-db-backup e2scrub_all fstrim; do
    ln -sf /dev/null "$making/etc/systemd/system/$timer.timer"
done
rm -f "$making/etc/hostname"
mv "$making" "$root"
echo "$root"
