"""Processes of Linux: the list, what is known of them by columns, and the records made of it."""
