"""Processes and threads of OpenBSD."""
