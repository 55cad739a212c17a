"""Paths, as users give them."""

from __future__ import annotations

import os

Path = str | bytes | os.PathLike[str] | os.PathLike[bytes]
MAXPATHLEN = 1024
