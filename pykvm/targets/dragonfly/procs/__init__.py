"""Processes of DragonFly."""
