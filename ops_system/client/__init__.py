"""The command line `ops`: for people and scripts, on a master that is somewhere else."""
