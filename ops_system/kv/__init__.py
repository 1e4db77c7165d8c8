"""The provisioning store: etcd's data model, an engine inside the master, and one client for it and for a real etcd."""
