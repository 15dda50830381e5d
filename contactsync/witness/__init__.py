"""A witness of logs (C2SP tlog-witness): it cosigns what continues the tree that it cosigned before."""
