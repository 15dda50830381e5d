"""Compiled kernels, from arrays to arrays, without I/O. Only this package uses numba."""
