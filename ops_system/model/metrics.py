"""The series of a node and of an instance: names, order and units. Worker and master agree on this order."""

NODE_SERIES = (
    "cpu_percent",  # 0..100 over all cores
    "mem_percent",
    "disk_percent",  # the fullest real mount
    "load1",
    "net_rx_bytes_per_s",
    "net_tx_bytes_per_s",
    "disk_read_bytes_per_s",
    "disk_write_bytes_per_s",
    "swap_percent",
    "load5",
    "load15",
    "mem_used_bytes",
    "swap_used_bytes",
    "processes",
    "file_descriptors",
    "uptime_s",
)
"""Order of `Sample.node` on the wire. The first eight are the core series kept for every node."""

INSTANCE_SERIES = (
    "cpu_percent",  # 100 = one whole core; the sum over the tree
    "mem_bytes",  # resident, the sum over the tree
    "processes",
    "file_descriptors",
    "disk_read_bytes_per_s",
    "disk_write_bytes_per_s",
)
"""Order of each row of `Sample.instances` on the wire, children included."""
