"""Bring raw material in, with its licence, origin and digests."""
