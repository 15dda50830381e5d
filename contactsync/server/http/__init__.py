"""The HTTP application, and the socket that it listens on."""
