"""Processes of FreeBSD."""
