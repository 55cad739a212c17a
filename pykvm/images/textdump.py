"""What savecore(8) of FreeBSD saves that is no memory, or none that can be read: textdumps and encrypted cores."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from pykvm.errors import FormatError
from pykvm.images.base import Image
from pykvm.images.hostfile import HostFile

# textdump(4): a ustar archive of these.
MEMBERS = (b"ddb.txt", b"config.txt", b"msgbuf.txt", b"panic.txt", b"version.txt")
USTAR = 257
ENCRYPTED = re.compile(r"vmcore_encrypted\.\w+")


def probe(files: Sequence[HostFile]) -> Image | None:
    """None for other files; FormatError that says what these are."""
    file = files[0]
    start = file.pread(0, 512)
    if start[USTAR : USTAR + 5] == b"ustar" and start[:100].split(b"\0")[0] in MEMBERS:
        raise FormatError(f"{file.path}: a textdump (ddb's output as a tar archive), not a dump of memory")
    if ENCRYPTED.fullmatch(Path(file.path).name):
        raise FormatError(f"{file.path}: an encrypted kernel dump: decrypt it with decryptcore(8) and its key.N first")
    return None
