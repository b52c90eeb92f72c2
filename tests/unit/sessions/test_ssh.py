"""The ssh way against a server of the suite's own: who is trusted, what is shared, what breaks."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bridge.clock import monotonic_s
from bridge.errors import ConnectFailed, SettingsError
from bridge.sessions import SessionPool
from bridge.sessions.program import AgentProgram, install_program
from bridge.sessions.ssh import CHANNELS, SshConnections
from bridge.sessions.ways import Ways
from bridge.sites import Cluster
from bridge.sites.ways import Ssh
from tests.factories.sshd import Sshd, write_key

PYTHON = "/usr/bin/python3"
Connect = Callable[..., SessionPool]


@pytest.fixture(scope="module")
def program() -> Iterator[AgentProgram]:
    program = AgentProgram()
    yield program
    program.remove()


@pytest.fixture
def sshd(tmp_path: Path) -> Iterator[Sshd]:
    server = Sshd(tmp_path)
    yield server
    server.close()


@pytest.fixture
def connect(sshd: Sshd, program: AgentProgram) -> Iterator[Connect]:
    """Makes pools of sessions by ssh; those with the same keys share connections."""
    made: dict[str, SshConnections] = {}
    pools: list[SessionPool] = []

    def start(**keys: Any) -> SessionPool:
        keys = {
            "host": "127.0.0.1",
            "port": sshd.port,
            "key_file": str(sshd.key_file),
            "known_hosts": str(sshd.known_hosts),
            "connect_timeout_s": 5.0,
            **keys,
        }
        config = Ssh.model_validate(keys)
        connections = made.setdefault(str(keys), SshConnections(config, PYTHON, program))
        pool = SessionPool(connections.opener(lambda login: config.login.format(login=login)))
        pools.append(pool)
        return pool

    yield start
    for pool in pools:
        pool.close()
    for connections in made.values():
        connections.close()


class TestTrust:
    def test_a_host_that_is_known_and_a_key_that_counts(self, connect: Connect, sshd: Sshd) -> None:
        assert connect().session("alice").run(["echo", "hi"]).stdout == b"hi\n"
        assert sshd.logins == ["alice"]

    def test_a_host_that_is_not_known(self, connect: Connect, sshd: Sshd) -> None:
        sshd.known_hosts.write_text("")
        with pytest.raises(ConnectFailed, match="not found in known_hosts"):
            connect().session("alice")
        assert sshd.logins == []

    def test_a_host_that_has_another_key(
        self, connect: Connect, sshd: Sshd, tmp_path: Path
    ) -> None:
        sshd.trust(write_key(tmp_path / "other"))
        with pytest.raises(ConnectFailed, match=r"host key .*SHA256:.* is not the one in"):
            connect().session("alice")
        assert sshd.logins == []

    def test_a_list_with_marks_that_would_be_passed_over(
        self, connect: Connect, sshd: Sshd
    ) -> None:
        known = sshd.known_hosts.read_text()
        sshd.known_hosts.write_text(f"{known}@revoked {known}")
        with pytest.raises(ConnectFailed, match="@revoked, which is not supported"):
            connect().session("alice")

    def test_a_list_that_is_not_there(self, connect: Connect, tmp_path: Path) -> None:
        with pytest.raises(ConnectFailed, match=r"known_hosts .*/none cannot be read"):
            connect(known_hosts=str(tmp_path / "none")).session("alice")

    def test_a_key_that_does_not_count(self, connect: Connect, tmp_path: Path) -> None:
        write_key(tmp_path / "other")
        with pytest.raises(ConnectFailed, match=r"No session as alice: .*Authentication failed"):
            connect(key_file=str(tmp_path / "other")).session("alice")

    def test_a_key_that_others_may_read(self, connect: Connect, sshd: Sshd) -> None:
        sshd.key_file.chmod(0o640)
        with pytest.raises(ConnectFailed, match="mode 0640, expected 0600"):
            connect().session("alice")

    @pytest.mark.parametrize("text", ["", "no key", "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n"])
    def test_a_file_that_is_no_key(self, connect: Connect, tmp_path: Path, text: str) -> None:
        path = tmp_path / "other"
        path.write_text(text)
        path.chmod(0o600)
        with pytest.raises(ConnectFailed, match=r"key .*/other cannot be used"):
            connect(key_file=str(path)).session("alice")

    @pytest.mark.parametrize("name", ["-oProxyCommand=x", "alice;id", "../bob", "#0", "", "a\nb"])
    def test_a_name_that_is_none(self, connect: Connect, sshd: Sshd, name: str) -> None:
        with pytest.raises(ConnectFailed, match="not a user name"):
            connect(key_file="/nowhere/{login}").session(name)
        assert sshd.logins == []

    def test_root(self, connect: Connect, sshd: Sshd) -> None:
        with pytest.raises(ConnectFailed, match="No session as root"):
            connect().session("root")
        assert sshd.logins == []


class TestSharing:
    def test_one_account_s_sessions_share_a_connection(self, connect: Connect, sshd: Sshd) -> None:
        first, second = connect().session("alice"), connect().session("alice")
        assert first is not second
        assert first.list("/")
        assert second.list("/")
        assert sshd.logins == ["alice"]

    def test_two_accounts_do_not(self, connect: Connect, sshd: Sshd) -> None:
        pool = connect()
        pool.session("alice")
        pool.session("bob")
        assert sshd.logins == ["alice", "bob"]

    def test_a_community_account_has_as_many_as_it_needs(
        self, connect: Connect, sshd: Sshd
    ) -> None:
        pool = connect(login="gateway")
        for number in range(CHANNELS + 1):
            assert pool.session(f"user{number}").list("/")
        assert sshd.logins == ["gateway", "gateway"]

    def test_the_last_session_closes_the_connection(self, connect: Connect, sshd: Sshd) -> None:
        pools = connect(), connect()
        for pool in pools:
            pool.session("alice")
        pools[0].close()
        assert pools[1].session("alice").list("/")
        assert len(sshd.logins) == 1
        pools[1].close()
        wait_until(lambda: sshd.open_count == 0)

    def test_the_one_that_is_quiet_longest_makes_room(self, connect: Connect, sshd: Sshd) -> None:
        pool = connect(max_connections=2)
        alice, bob = pool.session("alice"), pool.session("bob")
        assert alice.list("/")
        assert pool.session("carol").list("/")
        with pytest.raises(ConnectFailed):
            bob.list("/")
        assert alice.list("/")
        assert pool.session("bob").list("/")
        assert sshd.logins == ["alice", "bob", "carol", "bob"]

    def test_one_that_waits_for_an_answer_is_not_closed(
        self, connect: Connect, tmp_path: Path
    ) -> None:
        pool = connect(max_connections=1, connect_timeout_s=0.5)
        alice = pool.session("alice")
        flag = tmp_path / "flag"
        script = f"touch {flag}.begun; until test -e {flag}; do sleep 0.05; done; echo whole"
        done: list[bytes] = []
        thread = threading.Thread(
            target=lambda: done.append(alice.run(["sh", "-c", script]).stdout)
        )
        thread.start()
        wait_until(Path(f"{flag}.begun").exists)
        with pytest.raises(ConnectFailed, match=r"all 1 connections .* busy"):
            pool.session("bob")
        flag.touch()
        thread.join(30)
        assert done == [b"whole\n"]


class TestTrouble:
    def test_a_connection_that_broke_is_replaced(self, connect: Connect, sshd: Sshd) -> None:
        pool = connect()
        session = pool.session("alice")
        sshd.break_all()
        with pytest.raises(ConnectFailed):
            session.list("/")
        assert pool.session("alice").list("/")
        assert sshd.logins == ["alice", "alice"]

    def test_one_that_broke_unnoticed_costs_a_new_session_nothing(
        self, connect: Connect, sshd: Sshd
    ) -> None:
        first, second = connect(), connect()
        first.session("alice")
        sshd.break_all()
        assert second.session("alice").list("/")

    def test_a_server_that_never_says_a_word(self, connect: Connect, sshd: Sshd) -> None:
        sshd.greets = False
        begun = monotonic_s()
        with pytest.raises(ConnectFailed, match=f"127.0.0.1:{sshd.port}"):
            connect(connect_timeout_s=0.5).session("alice")
        assert monotonic_s() - begun < 5

    def test_a_server_that_opens_no_channel(self, connect: Connect, sshd: Sshd) -> None:
        sshd.opens = False
        begun = monotonic_s()
        with pytest.raises(ConnectFailed, match="No session as alice"):
            connect(connect_timeout_s=0.5).session("alice")
        sshd.opens = True
        assert monotonic_s() - begun < 5

    def test_nobody_there(self, connect: Connect) -> None:
        with pytest.raises(ConnectFailed, match="refused"):
            connect(port=1).session("alice")

    def test_a_shell_that_never_starts_the_agent(self, connect: Connect, sshd: Sshd) -> None:
        sshd.noise = "exec sleep 30"
        with pytest.raises(ConnectFailed, match=r"no agent answered within 0\.5 s"):
            connect(connect_timeout_s=0.5).session("alice")

    def test_a_shell_that_talks_before_it_starts_it(self, connect: Connect, sshd: Sshd) -> None:
        sshd.noise = """echo 'Welcome!'; echo '{"id": 1, "ok": true, "uid": 0}'; printf x"""
        assert connect().session("alice").run(["echo", "hi"]).stdout == b"hi\n"

    def test_a_shell_that_talks_for_ever(self, connect: Connect, sshd: Sshd) -> None:
        sshd.noise = "exec yes"
        with pytest.raises(ConnectFailed, match="no agent was started"):
            connect().session("alice")

    def test_a_shell_that_refuses(self, connect: Connect, sshd: Sshd) -> None:
        sshd.noise = "echo 'This account is not available.' >&2; exit 1"
        with pytest.raises(ConnectFailed, match="said: This account is not available"):
            connect().session("alice")

    def test_a_program_that_is_there_already(
        self, connect: Connect, sshd: Sshd, tmp_path: Path, program: AgentProgram
    ) -> None:
        path = tmp_path / "agent.pyz"
        path.write_bytes(program.data)
        sshd.noise = f"exec {PYTHON} -I {path} agent"  # as a key that is bound to a command
        assert connect(program=str(path)).session("alice").list("/")


class TestWho:
    def test_an_agent_of_another_account_is_no_session(
        self, sshd: Sshd, program: AgentProgram
    ) -> None:
        """The server runs everything as this suite's user, whoever logs in."""
        cluster = Cluster.model_validate(
            {
                "spool": "/scratch/{login}",
                "image_cache": "/work/images",
                "session": "ssh",
                "ssh": {
                    "host": "127.0.0.1",
                    "port": sshd.port,
                    "key_file": str(sshd.key_file),
                    "known_hosts": str(sshd.known_hosts),
                },
            }
        )
        ways = Ways(program)
        with pytest.raises(ConnectFailed, match=r"runs as '.*', not as 'alice'"):
            ways.owners("alpha", cluster).session("alice")
        ways.close()


def test_what_is_installed_only_root_can_change(tmp_path: Path) -> None:
    """/tmp may be written by all, so nothing below it will do."""
    with pytest.raises(SettingsError, match=r"mode|root"):
        install_program(tmp_path / "agent.pyz")


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = monotonic_s() + 20
    while not condition():
        assert monotonic_s() < deadline
        threading.Event().wait(0.02)
