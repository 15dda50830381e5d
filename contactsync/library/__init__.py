"""The public library (docs/library.md), which the command line is built on. `contactsync` has its names."""
