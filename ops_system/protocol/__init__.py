"""How nouns travel between master and worker; sans-I/O."""
