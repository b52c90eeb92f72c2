"""What sudo and sshd themselves refuse, and what is left of a session that they end."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bridge.errors import ConnectFailed
from bridge.sandbox.service import prepare_sudo
from bridge.sites.ways import Sudo
from tests.integration.sessions.login_node import KEYS, SESSIONS, LoginNode

pytestmark = pytest.mark.sandbox

PROGRAM = str(Sudo().program)
CERTIFY = """\
set -e
cd "$(mktemp -d)"
ssh-keygen -q -t ed25519 -N '' -f key
ssh-keygen -q -s /etc/ssh/user_ca -I test -n "$1" -V "$2" key.pub
install -o bridge -m 0600 key "$3"
install -m 0644 key-cert.pub "$3-cert.pub"
"""


def sh(node: LoginNode, script: str, *words: str) -> str:
    return node.sandbox.run("login", ["sh", "-c", script, "-", *words]).stdout


@pytest.fixture
def node(login_node: LoginNode) -> Iterator[LoginNode]:
    yield login_node
    prepare_sudo(login_node.sandbox)


class TestSudo:
    @pytest.mark.parametrize(
        ("change", "says"),
        [
            (f"chmod 0666 {PROGRAM}", "mode 0666"),
            (f"chown alice {PROGRAM}", "belongs to uid 2001"),
            (f"chmod 0777 {PROGRAM.rpartition('/')[0]}", "mode 0777"),
            (f"rm {PROGRAM}", "No such file"),
            (f"mv {PROGRAM} /root/x; ln -s /root/x {PROGRAM}", "symbolic link"),
            (f"printf x >> {PROGRAM}", "another release .*bridge agent install"),
            ("rm /etc/sudoers.d/abaco-bridge", "password is required"),
        ],
    )
    def test_what_is_not_as_root_left_it(self, node: LoginNode, change: str, says: str) -> None:
        sh(node, change)
        try:
            with pytest.raises(ConnectFailed, match=says):
                node.pool("sudo").session("alice")
        finally:
            sh(node, f"rm -rf {PROGRAM.rpartition('/')[0]}")
            prepare_sudo(node.sandbox)
        pool = node.pool("sudo")
        assert pool.session("alice").list("/")
        pool.close()

    def test_whom_the_site_excludes_sudo_is_not_asked_about(self, node: LoginNode) -> None:
        keys = {**SESSIONS["sudo"].keys, "forbidden_groups": ["science"]}
        with pytest.raises(ConnectFailed, match="group science, one of the site's forbidden"):
            node.open(keys, "alice")


class TestSsh:
    def test_a_certificate_is_for_whom_it_names_and_while_it_holds(self, node: LoginNode) -> None:
        key = f"{KEYS}/ssh-test"
        changes = {"key_file": key, "certificate_file": f"{key}-cert.pub"}
        sh(node, CERTIFY, "bob", "-1d:-1h", key)
        with pytest.raises(ConnectFailed, match="Authentication failed"):
            node.pool("ssh-certificate", **changes).session("bob")
        sh(node, CERTIFY, "bob", "-5m:+5m", key)
        with pytest.raises(ConnectFailed, match="Authentication failed"):
            node.pool("ssh-certificate", **changes).session("alice")
        pool = node.pool("ssh-certificate", **changes)
        assert pool.session("bob").list("/")
        pool.close()

    def test_a_session_that_sshd_lost_is_replaced(self, node: LoginNode) -> None:
        pool = node.pool("ssh")
        session = pool.session("alice")
        session.list("/")
        sh(node, "pkill -KILL -f 'sshd-sessio[n]: alice|sshd: alic[e]'")
        with pytest.raises(ConnectFailed):
            session.list("/")
        assert pool.session("alice").list("/")
        pool.close()
