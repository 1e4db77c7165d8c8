"""What a change of definitions, templates or variables means for what runs, and how it gets there."""
