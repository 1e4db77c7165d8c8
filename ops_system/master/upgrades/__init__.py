"""Another version of a module for its running instances: plan, canary, waves, bake time, and the way back."""
