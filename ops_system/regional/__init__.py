"""The regional client: boots the machines of one data centre (IDC) over the network and speaks with their agents."""
