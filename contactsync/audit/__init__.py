"""What an auditor runs: vectors, probes, leakage."""
