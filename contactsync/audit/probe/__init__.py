"""`audit server`: what a running server does, seen from outside, request by request (docs/http-api.md)."""
