"""How long what must not take long may take: bounds against what never ends, not measurements."""

from __future__ import annotations

import os

# Under the sanitizers everything takes several times as long (tools/sanitize.sh preloads their libraries).
SLOW = 20 if os.environ.get("LD_PRELOAD") else 2
