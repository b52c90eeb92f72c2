"""The launcher room."""
