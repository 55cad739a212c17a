"""Numbers of <sys/proc.h>, <sys/lwp.h> and <sys/sysctl.h> of NetBSD 5 to 10."""

SIDL, SACTIVE, SDYING, SSTOP, SZOMB = 1, 2, 3, 4, 5  # p_stat
LSIDL, LSRUN, LSSLEEP, LSSTOP, LSZOMB, LSDEAD, LSONPROC, LSSUSPENDED = 1, 2, 3, 4, 5, 6, 7, 8  # l_stat
PK_SYSTEM, PK_32, PK_MARKER = 0x2, 0x40000, 0x80000000
PL_CONTROLT = 0x2
L_INMEM = 0x4
LW_SINTR, LW_SYSTEM = 0x80, 0x200
PS_COREDUMP, WCOREFLAG = 0x20000000, 0x80
PRI_KERNEL = 96
# The bits of each of a process's words of flags that sysctl(3) shows in p_flag, where they are the same.
SHOWN = {
    "p_flag": 0x000E4101,  # ADVLOCK SUGID EXEC NOCLDWAIT 32 CLDSIGIGN
    "p_sflag": 0x03802008,  # NOCLDSTOP WEXIT STOPFORK STOPEXEC STOPEXIT
    "p_slflag": 0x04000C00,  # CHTRACED TRACED SYSCALL
    "p_lflag": 0x00000012,  # CONTROLT PPWAIT
    "p_stflag": 0x00000020,  # PROFIL
}
LWP_SHOWN = {"l_flag": 0x280, "l_prflag": 0x00800000}  # SINTR SYSTEM; DETACHED
