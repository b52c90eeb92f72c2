"""The containers room."""
