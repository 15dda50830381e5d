"""The operator's side of the witnessed log: what is published is a leaf of it before anybody can see it."""
