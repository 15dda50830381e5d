"""In the way of boto3, which only the S3 servers of tests need, for all other processes that tests start.

securesystemslib loads it wherever it is installed, for a signer that we do not use: 0.2 s of CPU for each
process. Where contactsync is installed, it usually is not there.
"""

raise ModuleNotFoundError("tests/not_installed hides it", name="boto3")
