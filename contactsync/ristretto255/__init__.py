"""ristretto255 (RFC 9496) over batches of elements."""
