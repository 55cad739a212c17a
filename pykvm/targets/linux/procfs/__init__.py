"""The Linux that runs here, by what it tells everybody: /proc (proc(5)), without its memory."""
