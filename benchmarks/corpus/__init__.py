"""The corpus path beside its peers: one module per row of the table, each writing `<row>.json`.

    make bench-corpus                       every row, in the order of `ROWS`
    python -m benchmarks.corpus near_duplicates --rounds 3

Every contestant is a process of its own that loads the text first and is then asked in turn
(`rounds.interleaved`); what is compared is CPU seconds of that process for the same bytes, as
ratios per round with their quartiles, and what each decided. Peers run in an environment of
their own, made from `peers.txt`; its interpreter is named by DEVENO_PEERS_PYTHON.
"""
