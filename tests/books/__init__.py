"""Address books of every origin: small cases after public reports. `test_books` reads them all."""
