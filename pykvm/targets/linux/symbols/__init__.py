"""Names of a Linux kernel: its own, its modules', and whether a kernel file is the dump's."""
