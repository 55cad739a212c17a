#!/bin/sh
# Build the C core with AddressSanitizer and UndefinedBehaviorSanitizer beside the usual one, and run the tests with it: all
# of the core's own, and each fifteenth of the others.
set -eu
venv=$(cd "$1" && pwd)
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
mkdir "$out/src"
cp -R pykvm fixtures tests README.md setup.py pyproject.toml "$out/src/"
cd "$out/src"
rm -f pykvm/_native/_core*.so pykvm/libkvm/libkvm.so
ln -s fixtures pykvm_fixtures
CFLAGS="-Werror -g -O1 -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=undefined" \
    LDFLAGS="-fsanitize=address,undefined" "$venv/bin/python" setup.py -q build_ext --inplace
# Leaks are looked for by valgrind: Python itself keeps memory until it exits.
export LD_PRELOAD="$(cc -print-file-name=libasan.so) $(cc -print-file-name=libubsan.so)"
export ASAN_OPTIONS=detect_leaks=0:abort_on_error=1 PYTHONMALLOC=malloc PYTHONPATH="$out/src" PYKVM_REAL="${PYKVM_REAL:-}"
"$venv/bin/python" -m pytest -p no:cacheprovider --sample 15 tests
# libkvm.so, and the programs that use it; the compiler is not what is tested.
PYKVM_CONSUMER_CFLAGS="-O1 -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=undefined" \
    "$venv/bin/python" -m pytest -p no:cacheprovider tests/test_libkvm.py tests/test_libkvm_process.py
