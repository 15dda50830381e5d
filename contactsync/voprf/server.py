"""The server's half of RFC 9497 VOPRF."""
