"""A copy of what is published: in a store of S3, Google Cloud or Azure, or in a folder. See operations.md."""
