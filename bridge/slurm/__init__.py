"""The slurm room."""
