"""Abaco Bridge: Abaco's HTTP contract in front of a Slurm cluster with Apptainer.

The rooms and the way of a message through them are described in README.md. Imports go down only;
import-linter watches (see pyproject.toml).
"""

__version__ = "0.1"
