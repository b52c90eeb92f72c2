"""The harvest room."""
