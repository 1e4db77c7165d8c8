"""Updates of the workers themselves, by packages of a reserved name."""
