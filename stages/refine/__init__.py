"""Stage `refine`: raw material becomes a clean, deduplicated, split and measured corpus."""
