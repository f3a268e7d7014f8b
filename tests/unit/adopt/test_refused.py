# SPDX-License-Identifier: MIT
"""What adopt does not do at all, with --partial either."""

from __future__ import annotations

import ipaddress

import pytest
from cases import host

from keepalived_dummy.config import Config
from keepalived_dummy.errors import UserError
from keepalived_dummy.keepalived import CONFIG, Memory, read_from
from keepalived_dummy.rewrite import Rewrite, rewrite
from keepalived_dummy.targets import Wish

TEXT = """vrrp_instance V {
    interface ens3
    virtual_router_id 51
    virtual_ipaddress {
        192.0.2.10/24
    }
}
"""


def plan(text: str, wish: Wish | None = None) -> Rewrite:
    files = Memory({str(CONFIG): text.encode()})
    facts = host("ens3 192.0.2.5/24")
    return rewrite(read_from(files, str(CONFIG)), files, Config(()), facts, wish or Wish())


def test_another_network_namespace() -> None:
    with pytest.raises(
        UserError, match=rf"{CONFIG}:2: keepalived runs in the network namespace lb,"
    ):
        plan(f"# text\nnet_namespace lb\nnet_namespace lc\n{TEXT}")


@pytest.mark.parametrize("text", ["net_namespace\n", "net_namespace_ipvs lb\n"])
def test_no_network_namespace(text: str) -> None:
    assert not plan(text + TEXT).refused


def test_an_address_to_be_left_that_is_no_vip() -> None:
    leave = frozenset(map(ipaddress.ip_address, ("192.0.2.10", "fe80::1")))
    with pytest.raises(UserError, match=rf"^--leave fe80::1: no vrrp_instance of {CONFIG} has"):
        plan(TEXT, Wish(leave=leave))
