"""Numbers of <sys/proc.h>, which have been the same since FreeBSD 10 at least."""

from __future__ import annotations

# p_flag
P_CONTROLT, P_KPROC, P_TRACED = 0x2, 0x4, 0x800  # P_SYSTEM is set for init, too
P_STOPPED = 0x20000 | 0x40000 | 0x80000  # by a signal, by a tracer, by another thread
P_JAILED = 0x1000000  # only in kinfo_proc
P_INMEM = 0x10000000  # until 14
# p_state
PRS_NEW, PRS_NORMAL, PRS_ZOMBIE = 0, 1, 2
# td_inhibitors
TDI_SLEEPING, TDI_SWAPPED, TDI_LOCK = 0x2, 0x4, 0x8
# td_flags
TDF_SINTR = 0x8
# td_state
TDS_CAN_RUN, TDS_RUNQ, TDS_RUNNING = 2, 3, 4
# ki_stat
SIDL, SRUN, SSLEEP, SSTOP, SZOMB, SWAIT, SLOCK = 1, 2, 3, 4, 5, 6, 7
NO_PID = 100000
