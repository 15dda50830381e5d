"""A mirror: the second operator of private look-up. It has the signed public files, and nobody's secret."""
