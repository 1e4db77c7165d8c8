"""Content-addressed artefacts behind one Protocol."""
