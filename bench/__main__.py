"""python -m bench: everything, or the parts named: memory symbols processes open linux freebsd libkvm live netbsd."""

from __future__ import annotations

import sys

from bench import freebsd, libkvm, linux, live, memory, netbsd, opening, processes, symbols

PARTS = {
    "memory": memory.run,
    "symbols": symbols.run,
    "processes": processes.run,
    "open": opening.run,
    "linux": linux.run,
    "freebsd": freebsd.run,
    "libkvm": libkvm.run,
    "live": live.run,
    "netbsd": netbsd.run,
}

for name in sys.argv[1:] or PARTS:
    PARTS[name]()
