"""Benchmarks: `python -m bench engine`. Needs the extra `[bench]`; each runs beside peers."""
