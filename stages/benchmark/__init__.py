"""The stage `benchmark`: latency of one tagger in its formats, side by side on this machine."""
