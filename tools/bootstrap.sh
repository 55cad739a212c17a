#!/bin/sh
# Make the virtual environment $1 with what the build needs; install Debian packages that are missing.
set -eu
venv=$1

missing=""
python3 -c 'import venv, ensurepip' 2>/dev/null || missing="$missing python3-venv"
python3 -c 'import os, sys, sysconfig; sys.exit(not os.path.exists(os.path.join(sysconfig.get_paths()["include"], "Python.h")))' ||
    missing="$missing python3-dev"
command -v cc >/dev/null 2>&1 || missing="$missing gcc libc6-dev"
# The codecs of compressed dumps: Debian's package for each header.
for need in libdeflate.h:libdeflate-dev zstd.h:libzstd-dev snappy-c.h:libsnappy-dev; do
    echo "#include <${need%%:*}>" | cc -E -x c - >/dev/null 2>&1 || missing="$missing ${need##*:}"
done
if [ -n "$missing" ]; then
    if ! command -v apt-get >/dev/null 2>&1; then
        echo "pykvm: please install:$missing" >&2
        exit 1
    fi
    sudo=""
    [ "$(id -u)" = 0 ] || sudo=sudo
    $sudo apt-get update -qq
    # shellcheck disable=SC2086 # a list of names
    DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq --no-install-recommends $missing
fi

[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/python" -m pip install -q --disable-pip-version-check 'setuptools>=77' wheel 'cffi>=1.16'
