"""Page tables as data; each file here knows one MMU."""
