"""The C core; see ffi.py."""
