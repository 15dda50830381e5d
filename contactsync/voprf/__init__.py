"""VOPRF(ristretto255, SHA-512), mode 0x01 of RFC 9497, over batches."""
