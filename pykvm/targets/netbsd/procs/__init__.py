"""Processes and LWPs of NetBSD."""
