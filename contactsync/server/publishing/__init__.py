"""From the members to a published edition."""
