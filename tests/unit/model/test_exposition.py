import math

import pytest

from ops_system.model.exposition import Family, name_extra, render, single


def test_a_family_has_its_help_its_type_and_its_samples() -> None:
    family = Family("ops_x_total", "Two\nlines \\ one.", [({"name": 'a"b\\c\nd'}, 1.0), ('{ready="1"}', 2.5)])
    assert render([family, single("ops_y", "", 3.0)]) == (
        "# HELP ops_x_total Two\\nlines \\\\ one.\n"
        "# TYPE ops_x_total counter\n"
        'ops_x_total{name="a\\"b\\\\c\\nd"} 1\n'
        'ops_x_total{ready="1"} 2.5\n'
        "# TYPE ops_y gauge\n"
        "ops_y 3\n"
    )


def test_what_is_unknown_is_left_out_and_what_is_endless_is_said() -> None:
    assert render([single("ops_x", "Help.", math.nan)]) == ""
    assert "ops_x +Inf\n" in render([single("ops_x", "", math.inf)])
    assert "ops_x -Inf\n" in render([single("ops_x", "", -math.inf)])


@pytest.mark.parametrize(
    ("series", "name", "labels"),
    [
        ("cpu12_percent", "ops_node_core_cpu_percent", {"core": "12"}),
        ("disk:/a:b:used_percent", "ops_node_mount_used_percent", {"mount": "/a:b"}),
        ("diskio:sda:busy_percent", "ops_node_disk_busy_percent", {"device": "sda"}),
        ("net:eth0:rx_errors_per_s", "ops_node_net_interface_rx_errors_per_s", {"interface": "eth0"}),
        ("temp:coretemp:0:celsius", "ops_node_temperature_celsius", {"sensor": "coretemp:0"}),
        ("pressure:io:percent", "ops_node_pressure_percent", {"resource": "io"}),
        ("disk::used_percent", "ops_node_extra", {"series": "disk::used_percent"}),
        ("disk:/:näh", "ops_node_extra", {"series": "disk:/:näh"}),
        ('evil{a="b"} 1', "ops_node_extra", {"series": 'evil{a="b"} 1'}),
    ],
)
def test_what_varies_by_machine_becomes_a_label(series: str, name: str, labels: dict[str, str]) -> None:
    assert name_extra(series) == (name, labels)
