"""What NetBSD and OpenBSD share: dumps of the kcore format, names, messages, load, user memory."""
