"""The jobs of a publish on other machines, by a Dask cluster that the operator runs."""
