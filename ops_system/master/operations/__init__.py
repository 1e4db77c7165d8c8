"""Long actions with steps, targets, progress and one outcome."""
