"""Linux's machines: where the page tables are, and where a kernel is that does not say so."""
