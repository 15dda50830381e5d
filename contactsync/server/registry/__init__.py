"""The register of members and accounts."""
