"""What the tests of hostile input share: damaging a file, and using a dump in every way."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Sequence
from itertools import repeat
from pathlib import Path
from typing import Any

from bounds import SLOW

import pykvm


def poke(path: Path, offset: int, data: bytes) -> None:
    with open(path, "r+b") as f:
        f.seek(offset)
        f.write(data)


MIRBSD = (1020, 984)


def triage(core: Path, kernel: Path, swap: Path | None = None, sizes: Sequence[int] = MIRBSD) -> list[str]:
    """Everything that one does with a dump; the messages of what failed. sizes: what its process records have."""
    messages: list[str] = []

    def attempt(call: Callable[[], Any]) -> Any:
        try:
            return call()
        except pykvm.KvmError as e:
            messages.append(str(e))
            return None

    start = time.process_time()
    kd = attempt(lambda: pykvm.Kvm(core, kernel, swap))
    if kd is not None:
        with kd:
            attempt(lambda: kd.info)
            attempt(lambda: kd.facts())
            for p in attempt(kd.processes) or []:
                attempt(lambda p=p: kd.argv(p))
                attempt(lambda p=p: kd.environ(p))
                attempt(lambda p=p: kd.threads(p))
                for name in pykvm.records.PROCESS_NAMES:
                    attempt(lambda p=p, name=name: getattr(p, name))
                assert len(attempt(lambda p=p: bytes(p)) or b"") in sizes
            for call in (kd.files, kd.loadavg, kd.dmesg):
                attempt(call)
            pykvm.kvm_walk_pages(kd, lambda page, left: next(left, 0), repeat(1, 10000))
            for further in (pykvm.kvm_getcptime, pykvm.kvm_getncpus, pykvm.kvm_kerndisp, pykvm.kvm_native):
                further(kd)
            pykvm.kvm_getpcpu(kd, 1)
            pykvm.kvm_counter_u64_fetch(kd, 0x1000)
            pykvm.kvm_getswapinfo(kd, 8, 0)
            pykvm.kvm_nlist2(kd, [pykvm.KvmNlist("_ifnet"), pykvm.KvmNlist("_hits")])
            pykvm.kvm_getproc2(kd, pykvm.KERN_PROC_KTHREAD, 0)
            pykvm.kvm_dump_wrtheader(kd, io.BytesIO(), 4096)
    assert time.process_time() - start < 5 * SLOW
    assert all(m and "\n" not in m for m in messages)
    return messages
