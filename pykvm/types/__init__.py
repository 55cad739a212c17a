"""Names of structure members to offsets and sizes: layout files, and the types that kernels carry."""
