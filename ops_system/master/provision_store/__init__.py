"""Where the state of installations lives: the embedded store and its gateway, or an etcd; and the way between."""
