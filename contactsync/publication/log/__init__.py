"""The log of what was published, in formats of C2SP: notes, checkpoints, tiles, cosignatures. No I/O."""
