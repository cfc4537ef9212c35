#!/usr/bin/env bash
# Builds build/deb/marketd_VERSION_ARCH.deb: marketd and what it needs from PyPI, pinned by hash, as a virtual environment
# in /opt/marketd for Debian's own Python; the units, the configuration, the manual.
#
#     packaging/deb/build.sh [REVISION…]          Debian's, behind the version of marketd; default 1, more make more packages
#
# The project's .venv must be there (`make deb` sees to it). The same commit gives the same package. DEBFULLNAME and
# DEBEMAIL name its maintainer, as they do for Debian's own tools.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

revisions=("${@:-1}")
bin=$PWD/.venv/bin
python=/usr/bin/python3
out=$PWD/build/deb
tree=$out/tree
prefix=/opt/marketd

if ! "$python" -c 'import sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
    echo "the package is built for Debian's own Python, 3.11 or newer: $python is missing or too old" >&2
    exit 1
fi

ARCH=$(dpkg --print-architecture)
upstream=$("$bin/hatchling" version)
PYTHON_THIS=$("$python" -c 'import sys; print("{}.{}".format(*sys.version_info))')
PYTHON_NEXT=$("$python" -c 'import sys; print(f"{sys.version_info[0]}.{sys.version_info[1] + 1}")')
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || date +%s)}
MAINTAINER="${DEBFULLNAME:-The marketd authors} <${DEBEMAIL:-marketd@localhost.localdomain}>"
export ARCH PYTHON_THIS PYTHON_NEXT SOURCE_DATE_EPOCH MAINTAINER
umask 022
rm -rf "$tree" "$out/wheel"
mkdir -p "$tree"

# The environment. The lock names what developers need too: only what marketd itself needs goes into the package.
"$bin/hatchling" build --target wheel --directory "$out/wheel" >/dev/null
"$bin/python" packaging/deb/runtime_lock.py >"$out/runtime.lock"
"$python" -m venv --without-pip "$tree$prefix"
pip() {
    PYTHONDONTWRITEBYTECODE=1 "$bin/python" -m pip --python "$tree$prefix/bin/python" --disable-pip-version-check --no-input --quiet "$@"
}
pip install --no-compile --require-hashes --only-binary :all: --requirement "$out/runtime.lock"
pip install --no-compile --no-deps --no-index --find-links "$out/wheel" marketd

# The tree is made elsewhere than it will lie: what names its place is put right, and what only a shell or pip wants goes.
site=$tree$prefix/lib/python$PYTHON_THIS/site-packages
find "$tree$prefix/bin" -mindepth 1 ! -name 'python*' ! -name marketd -delete
sed -i "1s|.*|#!$prefix/bin/python|" "$tree$prefix/bin/marketd"
sed -i '/^command = /d' "$tree$prefix/pyvenv.cfg"
rm -rf "$tree$prefix/include" "${tree:?}$prefix/lib64"
sed -i '/^\.\.\/\.\.\/\.\.\/bin\//d' "$site"/*.dist-info/RECORD  # the size of a script, its place in its first line
# Compiled here, since the service cannot write there. By the sources' contents: a file changed by hand is heeded.
"$python" -m compileall -q -j 0 --invalidation-mode checked-hash -s "$tree" "$site"
if grep --recursive --files-with-matches --fixed-strings "$PWD" "$tree"; then
    echo "these files name the folder that they were built in" >&2
    exit 1
fi

# The manual, laid out as in the sources so that its links lead somewhere, and what Debian wants to be told.
doc=$tree/usr/share/doc/marketd
mkdir -p "$doc/packaging"
cp -r README.md CHANGELOG.md docs config "$doc"
cp -r packaging/grafana packaging/postgresql packaging/prometheus packaging/systemd "$doc/packaging"
rm -rf "$doc"/packaging/{grafana,prometheus}/{*.py,__pycache__}
cp marketd.service "$doc"
{
    cat packaging/deb/copyright
    "$bin/python" packaging/deb/runtime_lock.py --licences "$site"
} >"$doc/copyright"
mkdir -p "$tree"/usr/share/{man/man1,bash-completion/completions,zsh/vendor-completions,fish/vendor_completions.d}
"$bin/python" packaging/man.py "$tree/usr/share/man/man1" "$(date --utc --date "@$SOURCE_DATE_EPOCH" +%F)" 2>/dev/null
gzip --best --no-name "$tree"/usr/share/man/man1/*.1
"$bin/marketd" completion bash >"$tree/usr/share/bash-completion/completions/marketd"
"$bin/marketd" completion zsh >"$tree/usr/share/zsh/vendor-completions/_marketd"
"$bin/marketd" completion fish >"$tree/usr/share/fish/vendor_completions.d/marketd.fish"
find "$tree" -exec touch --no-dereference --date "@$SOURCE_DATE_EPOCH" {} +

rm -f "$out"/*.deb
for revision in "${revisions[@]}"; do
    export VERSION=$upstream-$revision
    {
        printf 'marketd (%s) stable; urgency=medium\n\n  * What changed is in CHANGELOG.md, beside this file.\n\n' "$VERSION"
        printf ' -- %s  %s\n' "$MAINTAINER" "$(date --utc --date "@$SOURCE_DATE_EPOCH" --rfc-email)"
    } | gzip --best --no-name >"$doc/changelog.Debian.gz"
    touch --date "@$SOURCE_DATE_EPOCH" "$doc/changelog.Debian.gz" "$doc"
    "$bin/nfpm" package --config packaging/deb/nfpm.yaml --packager deb --target "$out/marketd_${VERSION}_$ARCH.deb" >/dev/null
    echo "$out/marketd_${VERSION}_$ARCH.deb"
done
