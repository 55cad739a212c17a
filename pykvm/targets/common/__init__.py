"""What the kernels' targets share."""
