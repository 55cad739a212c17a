"""pykvm measured: `python -m bench`, one line a figure."""
