"""How a process takes HTTP connections, whatever it serves: sockets, TLS, bounds on callers, its life."""
