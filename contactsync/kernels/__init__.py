"""The only package that names numba: arrays in, arrays out, no I/O."""
