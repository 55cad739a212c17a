"""ps(1) as a drgn script: ps_drgn.py DUMP VMLINUX."""

from __future__ import annotations

import sys

from on_drgn import Drgn

for task in Drgn(sys.argv[1], sys.argv[2]).tasks():
    print("{:>7} {:>7} {:>7} {!a}".format(*task))
