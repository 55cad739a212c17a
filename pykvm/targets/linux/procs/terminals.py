"""Controlling terminals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pykvm.targets.common import kinfo2
from pykvm.targets.common.columns import Member
from pykvm.targets.linux.procs import ids

if TYPE_CHECKING:
    from pykvm.targets.linux.procs.batch import Batch

MEMBERS = {
    "tty": Member("signal", "signal_struct", ("tty",)),
    "tty_index": Member("tty", "tty_struct", ("index",), signed=True),
    "tty_driver": Member("tty", "tty_struct", ("driver",)),
    "tty_major": Member("tty_driver", "tty_driver", ("major",), signed=True),
    "tty_minor": Member("tty_driver", "tty_driver", ("minor_start",), signed=True),
    # In a structure of their own since Linux 5.16.
    "tty_pgrp": Member("tty", "tty_struct", ("ctrl.pgrp", "pgrp")),
    "tty_session": Member("tty", "tty_struct", ("ctrl.session", "session")),
}


def terminals(batch: Batch) -> dict[str, Sequence[Any]]:
    """Device number, as new_encode_dev() of <linux/kdev_t.h> packs it, and foreground process group."""
    devices: list[int | None] = []
    for major, minor, index in zip(batch["tty_major"], batch["tty_minor"], batch["tty_index"], strict=True):
        if major is None or minor is None or index is None:
            devices.append(None)
        else:
            low = minor + index
            devices.append(((low & 0xFF) | major << 8 | (low & ~0xFF) << 12) & 0xFFFFFFFF)
    return {"tdev": devices, "tpgid": ids.numbers(batch, batch["tty_pgrp"])}


MAKERS = {
    "tdev tpgid": terminals,
    "eflag": lambda batch: {"eflag": kinfo2.eflag(batch["tty"], batch["leader"])},
}
