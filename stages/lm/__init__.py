"""The language-model library that two or more stages share."""
