"""The services room."""
