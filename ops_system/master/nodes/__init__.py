"""Nodes: enrolment, the links of workers, fingerprints, status."""
