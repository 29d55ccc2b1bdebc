"""Tokenise a corpus once and pack it into rows."""
