"""One fuzz target for each parser of octets or text that come from elsewhere.

`table.TARGETS` lists them, `target.py` says what counts as a finding, `corpus/` keeps inputs that reached
something new, or that were findings once. `test_fuzz_targets.py` runs a fixed number of inputs, the same each
time; `python -m fuzz` (make fuzz) is guided by coverage and never repeats itself.
"""
