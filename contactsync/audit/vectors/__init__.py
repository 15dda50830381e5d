"""Test vectors, run on this very copy: what each file must hold, what each operation means, who must refuse.

`checking` makes the report. contactsync/vectors/ has the files, docs/vectors.md their format.
"""
