"""Opening raw images of any size."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from bench.figures import line
from bench.samples import ROOM, mirbsd

CHILD = """
import sys, time
import pykvm
start = time.perf_counter()
kd = pykvm.Kvm(sys.argv[1], sys.argv[2])
kd.read_phys(kd.image.memory_size - 8, 8)
took = time.perf_counter() - start
# Not getrusage: Linux carries ru_maxrss over from the program before exec.
peak = next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(took, peak)
"""


def measure(size: int) -> tuple[float, float]:
    """Seconds to open a sparse raw image and read its last word, and the process's peak memory in MB."""
    image = Path(ROOM.name) / "raw"
    with open(image, "wb") as f:
        f.truncate(size)
    kernel = mirbsd(100).kernel
    found = []
    for _ in range(5):
        out = subprocess.run([sys.executable, "-c", CHILD, image, kernel], check=True, capture_output=True, text=True)
        seconds, kilobytes = out.stdout.split()
        found.append((float(seconds), float(kilobytes) / 1024))
    image.unlink()
    return min(found)


def run() -> None:
    """The figures."""
    small, large = measure(1 << 20), measure(1 << 40)
    ratio = large[0] / small[0]
    line("open a sparse 1 TB raw image, against one of 1 MB", ratio, "ratio", 1.2, at_least=False)
    line("  peak memory of that process", large[1], "MB", 50, at_least=False)
