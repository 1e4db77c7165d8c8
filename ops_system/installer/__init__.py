"""The install agent: runs in RAM on the machine being installed, or plays such a machine (`--mode simulate`)."""
