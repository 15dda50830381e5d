"""The operator's side: registry, keyring, publisher, evaluator, HTTP app."""
