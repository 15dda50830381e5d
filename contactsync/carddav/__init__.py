"""Reads address books from CardDAV servers (RFC 6352), and writes single cards back.

`address` says which texts are such books, `pull` brings a local copy up to date and returns the cards. Only
the CardDAV server sees these requests.
"""
