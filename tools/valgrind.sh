#!/bin/sh
# The tests of the C core under valgrind: an invalid access, or a block that the core lost, is a failure.
set -eu
venv=$(cd "$1" && pwd)
# Only the files that have such tests: to load all others takes valgrind minutes.
files=$(grep -l 'pytest\.mark\.core' tests/test_*.py)
log=$(mktemp)
trap 'rm -f "$log"' EXIT
# shellcheck disable=SC2086 # a list of names
PYTHONMALLOC=malloc valgrind -q --error-exitcode=99 --leak-check=full --errors-for-leak-kinds=definite \
    --show-leak-kinds=definite --suppressions=tools/python.supp --log-file="$log" \
    "$venv/bin/python" -m pytest -p no:cacheprovider -m core $files || { cat "$log"; exit 1; }
# libkvm.so in programs of its own: copies of records, threads, errors, what FreeBSD has.
# Without a fair lock valgrind lets a thread that never sleeps keep the others waiting for minutes.
PYKVM_CONSUMER_RUNNER="valgrind --fair-sched=try -q --error-exitcode=99 --leak-check=full --errors-for-leak-kinds=definite \
    --show-leak-kinds=definite --suppressions=$PWD/tools/python.supp" \
    "$venv/bin/python" -m pytest -q -p no:cacheprovider tests/test_libkvm.py tests/test_libkvm_process.py \
    -k "copied or threads or functions_of_freebsd or device or test_ps or test_fork"
echo "valgrind: clean"
