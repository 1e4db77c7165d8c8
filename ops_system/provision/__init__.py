"""What control plane and regions both do with the store: keys, documents, moves of a task by compare-and-swap."""
