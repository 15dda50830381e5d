"""The TUF repository around the manifests: the operator's side and the client's."""
