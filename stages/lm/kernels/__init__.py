"""Text and tokens in whole buffers: kernels compiled by numba, each beside its slow reference."""
