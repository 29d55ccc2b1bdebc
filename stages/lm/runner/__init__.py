"""A translator for CPUs: whole sentences decoded in compiled code, one instance per core."""
