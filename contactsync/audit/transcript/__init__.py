"""`audit transcript`: accounts for every octet that a sync sent, and checks what it received."""
