"""Text to E.164 to canonical identifier, under a versioned normalisation profile."""
