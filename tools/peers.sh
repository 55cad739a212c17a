#!/bin/sh
# What `make bench` measures pykvm against: drgn in .venv-peers, and Debian's libkdumpfile. With a Linux release
# (uname -r; Debian's, 340 MB of disk): its vmlinux with DWARF too, without which drgn lists no processes.
set -eu
here=$(cd "$(dirname "$0")/.." && pwd)
venv=${PYKVM_PEERS:-$here/.venv-peers}
release=${1:-}

[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/python" -m pip install -q --disable-pip-version-check drgn==0.3.0

missing=""
/usr/bin/python3 -c 'import kdumpfile' 2>/dev/null || missing=python3-libkdumpfile
# The bench packs a dump's pages with LZO as makedumpfile(8) does.
ldconfig -p | grep -q liblzo2.so.2 || missing="$missing liblzo2-2"
if [ -n "$missing" ]; then
    sudo=""
    [ "$(id -u)" = 0 ] || sudo=sudo
    # shellcheck disable=SC2086 # a list of names
    DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq --no-install-recommends $missing
fi

if [ -n "$release" ]; then
    cache=${XDG_CACHE_HOME:-$HOME/.cache}/pykvm
    room=$(mktemp -d)
    trap 'rm -rf "$room"' EXIT
    (cd "$room" && apt-get download "linux-image-$release-dbg")
    mkdir -p "$cache"
    dpkg-deb --fsys-tarfile "$room"/*.deb | tar -x -O -f - "./usr/lib/debug/boot/vmlinux-$release" >"$room/vmlinux"
    [ -s "$room/vmlinux" ] || { echo "peers.sh: linux-image-$release-dbg has no vmlinux" >&2; exit 1; }
    mv "$room/vmlinux" "$cache/vmlinux-$release"
fi
