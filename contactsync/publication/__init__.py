"""What the operator signs and the client follows: the manifest and the TUF repository around it."""
