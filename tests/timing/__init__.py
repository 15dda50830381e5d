"""Whether secrets show in the time that code takes: measured, as dudect does (`make timing`)."""
