"""Decoding as a versioned choice: typed settings, and the searches and samplers they name."""
