#!/bin/sh
# What the live tests need: QEMU, virtiofsd, and a kernel of Debian's for clouds, which has virtiofs built in.
set -eu
cache=${PYKVM_LIVE:-${HOME:?}/.cache/pykvm-live}
sudo=""
[ "$(id -u)" = 0 ] || sudo=sudo
updated=""
update() {
    # A mirror that is just being synchronised must not stop who needs nothing of what is new.
    [ -n "$updated" ] || $sudo apt-get update -qq || true
    updated=yes
}
need=""
command -v qemu-system-x86_64 >/dev/null 2>&1 || need="$need qemu-system-x86"
[ -x /usr/lib/qemu/virtiofsd ] || [ -x /usr/libexec/virtiofsd ] || command -v virtiofsd >/dev/null 2>&1 ||
    need="$need qemu-system-common virtiofsd"
if [ -n "$need" ]; then
    update
    for package in $need; do
        # virtiofsd is a package of its own since Debian 13, and part of qemu-system-common before.
        DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq --no-install-recommends "$package" ||
            [ "$package" = virtiofsd ]
    done
fi
if ! ls "$cache"/boot/vmlinuz-*-cloud-amd64 >/dev/null 2>&1; then
    update
    mkdir -p "$cache"
    name=$(apt-cache search --names-only '^linux-image-[0-9][^ ]*-cloud-amd64$' | cut -d' ' -f1 | grep '[0-9]\.[0-9]*\.[0-9]' |
        sort -V | tail -n 1)
    [ -n "$name" ] || {
        echo "pykvm: no package linux-image-*-cloud-amd64 here" >&2
        exit 1
    }
    room=$(mktemp -d)
    trap 'rm -rf "$room"' EXIT
    (cd "$room" && apt-get download -qq "$name" && dpkg -x ./*.deb x)
    cp -R "$room/x/boot" "$cache/"
fi
