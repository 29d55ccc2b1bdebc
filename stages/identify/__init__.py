"""Stage `identify`: a language identifier out of labelled text."""
