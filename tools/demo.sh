#!/bin/sh
# The main job on a synthetic MirBSD dump: what it is, its processes, names, memory. $1: the command, $2: its folder.
set -eu
pykvm=$1
dump="-M $2/bsd.0.core -N $2/bsd.0 -W $2/swap"

show() {
    printf '\n$ pykvm %s %s\n' "$1" "$dump $2"
    # shellcheck disable=SC2086 # flags and arguments are lists
    "$pykvm" "$1" $dump $2
}

show info ""
show ps "-aux -w"
show nm "allproc nprocs version"
show read "version 64"
