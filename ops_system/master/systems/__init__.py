"""Systems and their modules: the definition, apart from what runs."""
