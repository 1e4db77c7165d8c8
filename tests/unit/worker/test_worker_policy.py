import pytest

from ops_system.model.errors import UsageError
from ops_system.model.packages import PackageRef
from ops_system.runtime.config import build
from ops_system.worker.config import SCHEMA
from ops_system.worker.policy import Policy

REF = PackageRef("web", "1", "ab" * 32, 10, "")


def policy(keys=""):
    return Policy(build(SCHEMA, {"policy.publisher_keys": keys}).policy)


def test_without_named_publishers_every_package_of_the_master_may_run():
    assert policy().refusal_of_package(REF) is None


def test_a_package_without_a_wanted_signature_is_refused_in_words():
    refusal = policy("cd" * 32).refusal_of_package(REF)
    assert refusal.code == "policy_refused"
    assert "signed by none" in refusal.message


@pytest.mark.parametrize("text", ["short", "zz" * 32, "ab" * 33])
def test_what_is_no_key_id_is_a_usage_error(text):
    with pytest.raises(UsageError, match=r"policy\.publisher_keys.*64 hexadecimal"):
        policy(text)
