"""makedumpfile's flattened form (makedumpfile -F, for pipes): put together once, in a sparse file without a name.

Source: makedumpfile(8), makedumpfile.h: a header of 4096 bytes, then records of offset, size and data; all numbers
are big-endian. A later record overwrites an earlier one; offset and size of -1 end the file.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path

from pykvm.errors import FormatError, KvmError
from pykvm.loading import loading
from pykvm.progress import Progress

SIGNATURE = b"makedumpfile\0\0\0\0"
HEADER = 4096
RECORD = struct.Struct(">qq")
CHUNK = 1 << 20


def expand(fd: int, path: str) -> int:
    """A new descriptor, of an unlinked temporary file (in $TMPDIR) that holds the dump as it would be on disk.

    FormatError for a record that makes no sense or is cut, KvmError when the disk is full.
    """
    with loading:
        import tempfile  # half a hundredth of a second, that no other dump needs

    total = os.fstat(fd).st_size
    progress = Progress(f"unflattening {Path(path).name}", total)
    with tempfile.TemporaryFile(prefix="pykvm-") as out:
        at = HEADER
        try:
            while True:
                raw = os.pread(fd, RECORD.size, at)
                if len(raw) < RECORD.size:
                    raise FormatError(f"{path}: flattened record at offset {at}: the file ends before the end mark")
                offset, size = RECORD.unpack(raw)
                if (offset, size) == (-1, -1):
                    break
                at += RECORD.size
                if size > total - at >= 0 <= offset:
                    raise FormatError(
                        f"{path}: flattened record at offset {at - RECORD.size}: the file ends within its {size} bytes"
                    )
                if offset < 0 or size < 0 or offset + size >= 1 << 62:
                    raise FormatError(
                        f"{path}: flattened record at offset {at - RECORD.size}: "
                        f"offset {offset} and size {size} make no sense"
                    )
                _copy(fd, at, out.fileno(), offset, size)
                at += size
                progress.update(at)
        except OSError as e:
            raise KvmError(f"{path}: unflattening into {tempfile.gettempdir()} (TMPDIR): {e.strerror}") from e
        finally:
            progress.done()
        return os.dup(out.fileno())


def _copy(source: int, at: int, out: int, offset: int, size: int) -> None:
    while size:
        block = os.pread(source, min(size, CHUNK), at)
        if not block:
            return
        view = memoryview(block)
        while view:
            n = os.pwrite(out, view, offset)
            view = view[n:]
            offset += n
        at += len(block)
        size -= len(block)
