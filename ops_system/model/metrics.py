"""The series of a node and of an instance: names, order and units. Worker and master agree on this order.

Beside `NODE_SERIES` a node sends what varies by machine. These names are stable, and their parts stand between colons
(a mount point may hold any character but is followed by `:` and one of the endings below):

    cpu<N>_percent                              each core, from 0
    disk:<mount>:used_percent|used_bytes|size_bytes|inodes_percent
    diskio:<device>:read_bytes_per_s|write_bytes_per_s|busy_percent
    net:<interface>:rx_bytes_per_s|tx_bytes_per_s|rx_errors_per_s|tx_errors_per_s
    temp:<chip>:<sensor>:celsius
    pressure:<cpu|memory|io>:percent            share of the last 10 s in which some task waited for it
"""

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
