"""The attributes that have one meaning on every system, from Linux's structures."""

from __future__ import annotations

PF_KTHREAD = 0x00200000  # <linux/sched.h>
# <linux/sched.h>: what /proc shows, by the highest bit of __state | exit_state.
TASK_REPORT = 0x7F
TASK_UNINTERRUPTIBLE, TASK_NOLOAD = 0x2, 0x400
TASK_IDLE = TASK_UNINTERRUPTIBLE | TASK_NOLOAD
TASK_RTLOCK_WAIT, TASK_FROZEN = 0x1000, 0x8000
LETTERS = "RSDTTZZI"  # running, sleeping, disk sleep, stopped, traced, dead, zombie, parked


def stat(state: int, exit_state: int) -> str:
    """ps(1)'s letter for a task."""
    if state & TASK_IDLE == TASK_IDLE:
        return "I"
    if state & (TASK_RTLOCK_WAIT | TASK_FROZEN):
        state = TASK_UNINTERRUPTIBLE
    return LETTERS[((state | exit_state) & TASK_REPORT).bit_length()]


def adjusted(utime: int, stime: int, rtime: int, prev_utime: int, prev_stime: int) -> tuple[int, int]:
    """(user, system) time: the precise run time, divided as the sampled times are, never going back behind what
    was reported before (cputime_adjust()). All in nanoseconds."""
    if prev_utime + prev_stime >= rtime:
        return prev_utime, prev_stime
    if stime == 0:
        utime = rtime
    elif utime == 0:
        stime = rtime
    else:
        stime = stime * rtime // (stime + utime)
    stime = max(stime, prev_stime)
    utime = rtime - stime
    if utime < prev_utime:
        utime, stime = prev_utime, rtime - prev_utime
    return utime, stime
