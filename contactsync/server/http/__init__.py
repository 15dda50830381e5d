"""The HTTP application, and the socket it answers on."""
