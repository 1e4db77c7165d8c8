"""The install agent: runs in RAM on the machine that is being installed, or plays such a machine (`--mode simulate`)."""
