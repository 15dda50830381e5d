"""The client's half of RFC 9497 VOPRF."""
