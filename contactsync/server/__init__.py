"""The server: registry, keyring, publisher, evaluator, HTTP application."""
