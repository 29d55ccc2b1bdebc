"""Stage `port`: a foreign checkpoint becomes a transformers folder, proved equal."""
