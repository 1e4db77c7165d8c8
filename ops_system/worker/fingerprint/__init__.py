"""What this machine is: one module per operating system behind one Protocol."""
