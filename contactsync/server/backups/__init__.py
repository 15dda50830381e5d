"""Backups of a data folder: one file that is whole or refused, and the way back."""
