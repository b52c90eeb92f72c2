"""Tokens for slurmrestd: for whom, for how long, and that the key stays where it is."""

from __future__ import annotations

import getpass
import os
import pwd
from pathlib import Path
from typing import Any

import jwt
import pytest

from bridge.clock import ManualClock
from bridge.errors import SettingsError, SlurmError
from bridge.sites import Cluster, Slurmrestd
from bridge.slurm.make import make_slurm
from bridge.slurm.rest import SlurmRest
from bridge.slurm.tokens import TokenSigner, make_check, read_key, slurm_user, start_signers

KEY = bytes(range(32))
SSH = {"host": "login", "known_hosts": "/etc/ssh/ssh_known_hosts"}


def make_config(**keys: Any) -> Slurmrestd:
    keys = {"url": "http://head:6820", "jwt_key_file": "/etc/slurm/jwt_hs256.key"} | keys
    return Slurmrestd(**keys)


def make_cluster(**keys: Any) -> Cluster:
    keys = {"spool": "/scratch/{login}", "image_cache": "/images"} | keys
    return Cluster(slurm="slurmrestd", slurmrestd=make_config(), **keys)


def write_key(place: Path, mode: int = 0o600, key: bytes = KEY) -> Path:
    path = place / "jwt_hs256.key"
    path.write_bytes(key)
    path.chmod(mode)
    return path


def test_a_token_says_who_and_until_when() -> None:
    clock = ManualClock()
    signer = TokenSigner(make_config(token_lifetime_s=120), KEY, lambda _: None, clock)
    now = int(clock.now().timestamp())

    token = signer("alice")

    claims = jwt.decode(
        token, KEY, algorithms=["HS256"], options={"verify_exp": False, "verify_iat": False}
    )
    assert claims == {"sun": "alice", "iat": now, "exp": now + 120}


class TestKey:
    def test_it_is_read(self, tmp_path: Path) -> None:
        assert read_key(write_key(tmp_path)) == KEY

    @pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o660])
    def test_others_may_not_read_it(self, tmp_path: Path, mode: int) -> None:
        with pytest.raises(SettingsError, match=f"mode {mode:04o}; expected"):
            read_key(write_key(tmp_path, mode))

    @pytest.mark.parametrize("size", [0, 31, 5000])
    def test_its_length(self, tmp_path: Path, size: int) -> None:
        with pytest.raises(SettingsError, match=f"{min(4097, size)} bytes"):
            read_key(write_key(tmp_path, key=bytes(size)))

    def test_it_is_there_and_a_file(self, tmp_path: Path) -> None:
        with pytest.raises(SettingsError, match="No such file"):
            read_key(tmp_path / "none")
        os.mkfifo(tmp_path / "fifo", 0o600)
        with pytest.raises(SettingsError, match="expected a file"):
            read_key(tmp_path / "fifo")


class TestRule:
    @pytest.mark.parametrize("session", ["setuid", "sudo", "local"])
    @pytest.mark.parametrize("name", ["root", "daemon", "no-such-user", "", "a b", "x\0y", "-u"])
    def test_who_gets_none(self, session: str, name: str) -> None:
        check = make_check(make_cluster(session=session), make_config())
        with pytest.raises(SlurmError, match="No token"):
            check(name)

    def test_not_even_the_observer_may_be_root(self) -> None:
        for session, more in (("setuid", {}), ("ssh", {"ssh": SSH})):
            check = make_check(make_cluster(session=session, **more), make_config(observer="root"))
            with pytest.raises(SlurmError, match="root"):
                check("root")

    def test_the_observer_may_be_a_system_s_account(self) -> None:
        account = next(user for user in pwd.getpwall() if user.pw_uid > 0 and user.pw_gid > 0)
        make_check(make_cluster(), make_config(observer=account.pw_name))(account.pw_name)

    def test_off_the_cluster_names_are_the_cluster_s(self) -> None:
        cluster = make_cluster(session="ssh", ssh=SSH, forbidden_users=("mallory",))
        check = make_check(cluster, make_config())
        check("somebody-known-there")
        for name in ("root", "mallory", "a b", "-u"):
            with pytest.raises(SlurmError, match="No token"):
                check(name)


class TestWhoIsMeant:
    def test_the_session_s_user(self) -> None:
        assert slurm_user(make_cluster(), "alice") == "alice"

    def test_a_community_account(self) -> None:
        cluster = make_cluster(session="ssh", ssh={**SSH, "login": "gateway"}, spool="/s")
        assert slurm_user(cluster, "alice") == "gateway"

    def test_the_bridge_itself(self) -> None:
        cluster = make_cluster(session="local", spool="/s")
        assert slurm_user(cluster, "alice") == getpass.getuser()


class FakeSite:
    def __init__(self, cluster: Cluster) -> None:
        self.clusters = {"one": cluster}


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, which gives the key to a process apart")
class TestProcess:
    def start(self, place: Path, mode: int = 0o600, **keys: Any) -> Any:
        config = make_config(jwt_key_file=write_key(place, mode), observer="nobody")
        cluster = make_cluster(min_uid=1, **keys).model_copy(update={"slurmrestd": config})
        return start_signers(FakeSite(cluster), "nobody")["one"]  # type: ignore[arg-type]

    def test_it_signs_for_those_who_may(self, tmp_path: Path) -> None:
        sign = self.start(tmp_path, forbidden_users=("mail",))
        claims = jwt.decode(sign("nobody"), KEY, algorithms=["HS256"])
        assert claims["sun"] == "nobody"
        for name in ("root", "mail", "no-such-user", "", "\ud800", "x" * 300):
            with pytest.raises(SlurmError, match="No token"):
                sign(name)
        assert sign("daemon")  # it goes on
        sign.close()

    def test_a_key_that_others_can_read_is_told_at_the_start(self, tmp_path: Path) -> None:
        with pytest.raises(SettingsError, match="mode 0644"):
            self.start(tmp_path, 0o644)


def test_the_port_is_the_site_file_s() -> None:
    port = make_slurm(make_cluster(), lambda: None, lambda _: "token")  # type: ignore[arg-type, return-value]
    assert isinstance(port, SlurmRest)
    with pytest.raises(SettingsError, match="slurmrestd"):
        make_slurm(make_cluster(), lambda: None)  # type: ignore[arg-type, return-value]
