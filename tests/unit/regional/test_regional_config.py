"""What a regional client makes of its settings."""

import pytest

from ops_system.regional.config import SCHEMA
from ops_system.runtime import config as settings

MASTERS, ETCD = "https://m1:8443,https://m2:8443", "http://e1:2379,http://e2:2379"


@pytest.mark.parametrize(
    ("store", "master", "shown", "images"),
    [
        (MASTERS, "", "ops_secret", "https://m1:8443"),
        (MASTERS, "https://m2:8443", "ops_secret", "https://m2:8443"),
        (ETCD, "https://m1:8443", "", "https://m1:8443"),  # an etcd refuses what it did not give, and must not see it
    ],
)
def test_the_token_is_shown_to_masters_alone(store, master, shown, images):
    given = {"region.idc": "dc1", "store.urls": store, "store.token": "ops_secret", "master.url": master}
    config = settings.build(SCHEMA, given)
    assert (config.store_token(), config.master_url()) == (shown, images)
