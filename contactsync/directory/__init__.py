"""The directory of tokens: file format, builder, reader, delta, screen, intersection."""
