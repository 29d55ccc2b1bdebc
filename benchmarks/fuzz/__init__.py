"""Fuzzing: readers and kernels against drawn inputs, with hypothesis.

    make fuzz [SECONDS=300 of CPU] [SEED=0] [TARGETS=kernels,readers,line] [REPLAY=FILE]

A target draws an example and checks it: a kernel against its slow reference, a reader against the
rule that bytes are read to the last record or refused in three lines. Each group of targets runs in
a process of its own, so that whatever kills it is a finding too; kernels run twice, the second time
with every index checked. What fails is made small and kept under `.deveno/fuzz/`, from where
`REPLAY` runs it again; what was run stands in `benchmarks/fuzz.json`.
"""
