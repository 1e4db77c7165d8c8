"""What a node and its instances use, once a second."""
