"""pykvm ps with these arguments, and to stderr the process's peak memory in kB."""

from __future__ import annotations

import sys

from pykvm.cli import main

main(["ps", *sys.argv[1:]])
# Not getrusage: Linux carries ru_maxrss over from the program before exec.
with open("/proc/self/status") as status:
    print(next(line.split()[1] for line in status if line.startswith("VmHWM")), file=sys.stderr)
