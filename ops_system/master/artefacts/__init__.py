"""Where packages lie: the stores that the settings name, how they are watched, and the move from one to another."""
