#!/bin/sh
# The tests of the C core under valgrind: an invalid access, or a block that the core lost, is a failure.
set -eu
venv=$(cd "$1" && pwd)
log=$(mktemp)
trap 'rm -f "$log"' EXIT
PYTHONMALLOC=malloc valgrind -q --error-exitcode=99 --leak-check=full --errors-for-leak-kinds=definite \
    --show-leak-kinds=definite --suppressions=tools/python.supp --log-file="$log" \
    "$venv/bin/python" -m pytest -p no:cacheprovider -m core tests || { cat "$log"; exit 1; }
echo "valgrind: clean"
