"""What a machine that boots from the network is told. Pure: one gate, then the words of each boot loader."""
