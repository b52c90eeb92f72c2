"""What every way of acting as a user must do."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from bridge.errors import CommandTimeout, ConnectFailed, FileRefused
from tests.integration.sessions.conftest import Way

LIMIT = 16 << 20
# What sudo and sshd themselves add to the environment of what they start; no program of the user's
# that the agent runs has it.
FOREIGN = {
    "local": set(),
    "setuid": set(),
    "sudo": {
        "MAIL",
        "SHELL",
        "TERM",
        "SUDO_COMMAND",
        "SUDO_USER",
        "SUDO_UID",
        "SUDO_GID",
        "SUDO_HOME",
    },
    "ssh": {"MAIL", "SHELL", "SSH_CLIENT", "SSH_CONNECTION", "PWD", "SHLVL", "_", "MOTD_SHOWN"},
}


def sh(way: Way, script: str) -> str:
    done = way.session().run(["sh", "-c", script])
    assert done.exit_status == 0, done
    return done.stdout.decode()


def status(way: Way) -> dict[str, str]:
    """Return /proc/PID/status of a command."""
    lines = sh(way, "cat /proc/self/status").splitlines()
    return dict(line.split(":\t", 1) for line in lines if ":\t" in line)


def kind_of(caught: pytest.ExceptionInfo[FileRefused]) -> object:
    return caught.value.facts["kind"]


def write(path: Path) -> Path:
    path.write_bytes(b"x")
    return path


class TestWho:
    def test_ids_and_groups_are_the_user_s(self, way: Way) -> None:
        found = status(way)
        assert set(found["Uid"].split()) == {str(way.uid)}
        assert set(found["Gid"].split()) == {str(way.gid)}
        groups = {int(number) for number in found["Groups"].split()}
        if way.name == "local":
            assert groups == set(os.getgroups())
        else:
            assert groups | {way.gid} == way.groups
            assert 0 not in groups

    def test_the_agent_itself_is_the_user(self, way: Way) -> None:
        hello = way.session().hello()  # type: ignore[attr-defined]
        assert (hello["uid"], hello["gid"]) == (way.uid, way.gid)

    def test_there_is_no_way_back(self, way: Way) -> None:
        if way.name == "local":
            pytest.skip("local never was anybody else")
        found = status(way)
        for kind in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
            assert int(found[kind], 16) == 0, kind
        assert found["NoNewPrivs"] == "1"
        for call in ("setuid(0)", "setgid(0)", "setresuid(0, 0, 0)", "setgroups([0])"):
            done = way.session().run(["/usr/bin/python3", "-c", f"import os; os.{call}"])
            assert b"PermissionError" in done.stderr, call

    def test_what_only_the_daemon_may_read_cannot_be_read(self, way: Way) -> None:
        if way.uid == way.here("secret").stat().st_uid:
            pytest.skip("local is the daemon's own user")
        with pytest.raises(FileRefused):
            way.session().read(way.path("secret"))


class TestSurroundings:
    def test_the_environment_is_what_was_given(self, way: Way) -> None:
        done = way.session().run(["/usr/bin/env"], env={"A": "1", "B": "x y\nz"})
        assert done.stdout == b"A=1\nB=x y\nz\n"

    def test_without_one_it_is_plain(self, way: Way) -> None:
        done = way.session().run(["/usr/bin/env"])
        assert set(done.stdout.decode().splitlines()) == {
            "PATH=/usr/local/bin:/usr/bin:/bin",
            "LANG=C.UTF-8",
        }

    def test_the_agent_has_nothing_of_the_daemon_s(self, way: Way) -> None:
        names = sh(way, "tr '\\0' '\\n' < /proc/$PPID/environ | cut -d= -f1").split()
        assert set(names) - FOREIGN[way.kind] <= {"PATH", "HOME", "USER", "LOGNAME", "LANG"}

    def test_no_descriptor_is_inherited(self, way: Way) -> None:
        agents = sh(way, "ls -l /proc/$PPID/fd")
        assert "secret" not in agents
        assert agents.count("socket:") <= 2  # its stdin and its stdout, moved
        names = sh(way, "ls /proc/self/fd").split()
        assert {int(name) for name in names} <= {0, 1, 2, 3}  # 3 is ls's own

    def test_the_directory_is_nobody_s(self, way: Way) -> None:
        assert sh(way, "pwd") == "/\n"

    def test_files_are_the_user_s_alone(self, mine: Way) -> None:
        mine.session().run(["touch", mine.path("x")])
        found = mine.here("x").stat()
        assert stat.S_IMODE(found.st_mode) == 0o600
        assert (found.st_uid, found.st_gid) == (mine.uid, mine.gid)


class TestRun:
    def test_a_program(self, way: Way) -> None:
        done = way.session().run(["sh", "-c", "cat; echo err >&2; exit 3"], stdin=b"a\0\xff")
        assert (done.exit_status, done.stdout, done.stderr) == (3, b"a\0\xff", b"err\n")
        assert done.cut is False

    def test_words_are_words(self, way: Way) -> None:
        done = way.session().run(["printf", "%s|", "a b", "$(id)", ";", ""])
        assert done.stdout == b"a b|$(id)|;||"

    def test_a_signal(self, way: Way) -> None:
        assert way.session().run(["sh", "-c", "kill -9 $$"]).exit_status == 137

    def test_one_that_is_not_there(self, way: Way) -> None:
        with pytest.raises(FileRefused) as caught:
            way.session().run(["no-such-program"])
        assert kind_of(caught) == "missing"

    def test_one_that_takes_too_long_is_killed(self, mine: Way) -> None:
        script = f"echo $$ > {mine.path('pid')}; sleep 60 & wait"
        with pytest.raises(CommandTimeout):
            mine.session().run(["sh", "-c", script], timeout_s=0.5)
        pid = int(mine.here("pid").read_text())
        assert sh(mine, f"kill -0 {pid} 2>/dev/null || echo gone") == "gone\n"

    def test_one_that_prints_too_much_is_cut(self, way: Way) -> None:
        done = way.session().run(["head", "-c", str(LIMIT + 5), "/dev/zero"])
        assert (len(done.stdout), done.cut) == (LIMIT, True)

    def test_one_that_leaves_a_child_behind_is_not_waited_for(self, way: Way) -> None:
        done = way.session().run(["sh", "-c", "sleep 30 & echo done"], timeout_s=20)
        assert done.stdout == b"done\n"

    def test_much_input_and_output_at_once(self, way: Way) -> None:
        data = os.urandom(1 << 20) * 4
        assert way.session().run(["cat"], stdin=data).stdout == data


class TestFiles:
    def test_what_was_put_is_read(self, mine: Way) -> None:
        data = bytes(range(256)) * 1000
        mine.session().put(mine.path("x"), data)
        assert mine.session().read(mine.path("x")) == data
        assert mine.session().read(mine.path("x"), 10, 5) == data[10:15]
        assert mine.session().read(mine.path("x"), len(data)) == b""
        assert mine.session().read(mine.path("x"), 10**12) == b""

    def test_several_are_read_at_once(self, mine: Way) -> None:
        session = mine.session()
        session.put(mine.path("x"), b"0123456789")
        session.put(mine.path("y"), bytes(range(256)))
        mine.here("link").symlink_to("x")
        wanted = [("x", 2, 3), ("gone", 0, 9), ("y", 250, 99), ("link", 0, 9), ("x", 99, 9)]
        found = session.read_each([(mine.path(name), *where) for name, *where in wanted])
        kinds = [one.facts["kind"] if isinstance(one, FileRefused) else one for one in found]
        assert kinds == [b"234", "missing", bytes(range(250, 256)), "refused", b""]
        assert session.read_each([]) == []

    def test_its_mode_and_owner(self, mine: Way) -> None:
        mine.session().put(mine.path("x"), b"")
        mine.session().put(mine.path("y"), b"", mode=0o644)
        found = mine.here("x").stat()
        assert stat.S_IMODE(found.st_mode) == 0o600
        assert (found.st_uid, found.st_gid) == (mine.uid, mine.gid)
        assert stat.S_IMODE(mine.here("y").stat().st_mode) == 0o644

    def test_it_is_replaced_whole(self, mine: Way) -> None:
        mine.session().put(mine.path("x"), b"first")
        with mine.here("x").open("rb") as before:
            mine.session().put(mine.path("x"), b"2nd")
            assert before.read() == b"first"
        assert [entry.name for entry in mine.session().list(mine.path())] == ["x"]

    def test_a_link_is_replaced_and_not_followed(self, mine: Way) -> None:
        mine.here("target").write_bytes(b"old")
        mine.here("x").symlink_to("target")
        mine.session().put(mine.path("x"), b"new")
        assert mine.here("target").read_bytes() == b"old"
        assert not mine.here("x").is_symlink()

    def test_nothing_is_put_where_there_is_no_directory(self, mine: Way) -> None:
        with pytest.raises(FileRefused) as caught:
            mine.session().put(mine.path("no", "x"), b"")
        assert kind_of(caught) == "missing"

    def test_a_file_of_pieces(self, mine: Way) -> None:
        pieces = [b"first", b"", b"x" * (3 << 20), b"last"]
        mine.session().put_stream(mine.path("x"), iter(pieces))
        mine.session().put_stream(mine.path("empty"), [], mode=0o644)
        assert mine.here("x").read_bytes() == b"".join(pieces)
        assert stat.S_IMODE(mine.here("x").stat().st_mode) == 0o600
        assert mine.here("empty").read_bytes() == b""
        assert stat.S_IMODE(mine.here("empty").stat().st_mode) == 0o644

    def test_nobody_sees_a_part_of_it(self, mine: Way) -> None:
        session = mine.session()
        session.put(mine.path("x"), b"before")

        def pieces() -> Iterator[bytes]:
            yield b"half"
            assert session.read(mine.path("x")) == b"before"
            yield b" and half"

        session.put_stream(mine.path("x"), pieces())
        assert session.read(mine.path("x")) == b"half and half"
        assert [entry.name for entry in session.list(mine.path())] == ["x"]

    def test_pieces_that_do_not_come_leave_nothing(self, mine: Way) -> None:
        def pieces() -> Iterator[bytes]:
            yield b"half"
            raise ValueError("no more")

        for _ in range(10):
            with pytest.raises(ValueError, match="no more"):
                mine.session().put_stream(mine.path("x"), pieces())
        assert mine.session().list(mine.path()) == []

    def test_a_file_of_pieces_where_there_is_no_directory(self, mine: Way) -> None:
        with pytest.raises(FileRefused) as caught:
            mine.session().put_stream(mine.path("no", "x"), [b"x"])
        assert kind_of(caught) == "missing"

    def test_a_file_of_pieces_replaces_a_link(self, mine: Way) -> None:
        mine.here("target").write_bytes(b"old")
        mine.here("x").symlink_to("target")
        mine.session().put_stream(mine.path("x"), [b"new"])
        assert mine.here("target").read_bytes() == b"old"
        assert not mine.here("x").is_symlink()

    def test_a_missing_file(self, mine: Way) -> None:
        with pytest.raises(FileRefused) as caught:
            mine.session().read(mine.path("x"))
        assert kind_of(caught) == "missing"

    @pytest.mark.parametrize("kind", ["link", "fifo", "second name", "directory", "socket"])
    def test_what_is_no_plain_file_is_refused(self, mine: Way, kind: str) -> None:
        path = mine.here("x")
        plain = mine.give(write(mine.here("plain")))
        if kind == "link":
            path.symlink_to(plain)
        elif kind == "fifo":
            os.mkfifo(path)
        elif kind == "second name":
            path.hardlink_to(plain)
        elif kind == "directory":
            path.mkdir()
        else:
            with socket.socket(socket.AF_UNIX) as server:
                server.bind(str(path))
        mine.give(path)
        with pytest.raises(FileRefused) as caught:
            mine.session().read(mine.path("x"))
        assert kind_of(caught) == "refused"

    def test_another_user_s_file_is_refused(self, mine: Way) -> None:
        if os.geteuid() != 0:
            pytest.skip("only root can make one")
        path = write(mine.here("x"))
        path.chmod(0o644)
        os.chown(path, 1, 1)
        with pytest.raises(FileRefused, match="uid 1") as caught:
            mine.session().read(mine.path("x"))
        assert kind_of(caught) == "refused"

    @pytest.mark.parametrize("path", ["x", "", "./x", "/a\0b"])
    def test_a_path_that_is_not_absolute_is_refused(self, mine: Way, path: str) -> None:
        session = mine.session()
        for act in (
            lambda: session.read(path),
            lambda: session.put(path, b""),
            lambda: session.put_stream(path, [b""]),
            lambda: session.list(path),
            lambda: session.mkdir(path),
            lambda: session.remove(path),
            lambda: session.rename(path, mine.path("y")),
        ):
            with pytest.raises(FileRefused):
                act()

    def test_a_name_that_is_too_long_is_refused(self, mine: Way) -> None:
        with pytest.raises(FileRefused):
            mine.session().put(mine.path("x" * 300), b"")
        assert mine.session().list(mine.path()) == []

    def test_a_name_in_no_encoding(self, mine: Way) -> None:
        name = os.fsdecode(b"\xff\xfe")
        mine.session().put(mine.path(name), b"x")
        assert [entry.name for entry in mine.session().list(mine.path())] == [name]
        mine.session().rename(mine.path(name), mine.path("y"))
        assert mine.session().read(mine.path("y")) == b"x"


class TestFolders:
    def test_names_with_their_kinds(self, mine: Way) -> None:
        mine.session().put(mine.path("file"), b"12345")
        mine.session().mkdir(mine.path("folder"))
        mine.here("link").symlink_to("/etc/passwd")
        os.mkfifo(mine.here("fifo"))
        found = {entry.name: entry for entry in mine.session().list(mine.path())}
        assert {name: entry.kind for name, entry in found.items()} == {
            "file": "file",
            "folder": "directory",
            "link": "other",
            "fifo": "other",
        }
        assert found["file"].size == 5

    def test_a_missing_one_is_empty(self, mine: Way) -> None:
        assert mine.session().list(mine.path("no")) == []

    def test_a_link_to_one_is_refused(self, mine: Way) -> None:
        mine.here("x").symlink_to("/etc")
        with pytest.raises(FileRefused):
            mine.session().list(mine.path("x"))

    def test_no_more_than_was_asked_for(self, mine: Way) -> None:
        for number in range(5):
            mine.session().put(mine.path(str(number)), b"")
        assert len(mine.session().list(mine.path(), limit=3)) == 3

    def test_making_one_may_be_repeated(self, mine: Way) -> None:
        for _ in range(2):
            mine.session().mkdir(mine.path("a", "b", "c"))
        found = mine.here("a", "b", "c").stat()
        assert stat.S_IMODE(found.st_mode) == 0o700
        assert found.st_uid == mine.uid

    def test_it_does_not_replace_a_file_or_a_link(self, mine: Way) -> None:
        mine.session().put(mine.path("file"), b"")
        mine.here("link").symlink_to("/etc")
        for name in ("file", "link"):
            with pytest.raises(FileRefused):
                mine.session().mkdir(mine.path(name))

    def test_somebody_else_s_is_not_taken_for_ours(self, mine: Way) -> None:
        if os.geteuid() != 0:
            pytest.skip("only root can make one")
        path = mine.here("x")
        path.mkdir()
        os.chown(path, 1, 1)
        with pytest.raises(FileRefused):
            mine.session().mkdir(mine.path("x"))


class TestMoving:
    def test_a_rename_replaces(self, mine: Way) -> None:
        mine.session().put(mine.path("x"), b"new")
        mine.session().put(mine.path("y"), b"old")
        mine.session().rename(mine.path("x"), mine.path("y"))
        assert mine.session().read(mine.path("y")) == b"new"
        assert [entry.name for entry in mine.session().list(mine.path())] == ["y"]

    def test_of_what_is_gone(self, mine: Way) -> None:
        with pytest.raises(FileRefused) as caught:
            mine.session().rename(mine.path("x"), mine.path("y"))
        assert kind_of(caught) == "missing"

    def test_a_tree_is_removed_and_no_link_followed(self, mine: Way) -> None:
        mine.session().mkdir(mine.path("keep"))
        mine.session().put(mine.path("keep", "x"), b"")
        mine.session().mkdir(mine.path("go", "deep"))
        mine.here("go", "link").symlink_to(mine.path("keep"))
        mine.here("top").symlink_to(mine.path("keep"))
        for name in ("go", "top", "go"):
            mine.session().remove(mine.path(name))
        assert [entry.name for entry in mine.session().list(mine.path())] == ["keep"]
        assert len(mine.session().list(mine.path("keep"))) == 1


class TestTrouble:
    def test_a_broken_agent_is_replaced(self, way: Way) -> None:
        session = way.session()
        with pytest.raises(ConnectFailed):
            session.run(["sh", "-c", "kill -9 $PPID"])
        with pytest.raises(ConnectFailed):
            session.list("/")
        assert way.session() is not session
        assert way.session().list("/")

    @pytest.mark.parametrize("signal", ["KILL", "TERM"])
    def test_an_agent_that_ends_amid_a_file_leaves_none_of_its_name(
        self, mine: Way, signal: str
    ) -> None:
        session = mine.session()

        def pieces() -> Iterator[bytes]:
            yield b"half"
            with contextlib.suppress(ConnectFailed):
                session.run(["sh", "-c", f"kill -{signal} $PPID; sleep 5"])
            yield b"half"

        with pytest.raises(ConnectFailed):
            session.put_stream(mine.path("x"), pieces())
        assert "x" not in [entry.name for entry in mine.session().list(mine.path())]

    def test_a_session_that_ends_amid_a_file_leaves_nothing(self, mine: Way) -> None:
        session = mine.session()
        pid = int(session.run(["sh", "-c", "echo $PPID"]).stdout)

        def pieces() -> Iterator[bytes]:
            yield b"half"
            session.close()
            yield b"half"

        with pytest.raises(ConnectFailed):
            session.put_stream(mine.path("x"), pieces())
        sh(mine, f"while kill -0 {pid} 2>/dev/null; do sleep 0.02; done")
        assert mine.session().list(mine.path()) == []

    def test_a_refusal_breaks_nothing(self, mine: Way) -> None:
        session = mine.session()
        with pytest.raises(FileRefused):
            session.read(mine.path("x"))
        session.put(mine.path("x"), b"x")
        assert mine.session() is session

    @pytest.mark.parametrize("name", ["nobody-of-that-name", "root", "daemon"])
    def test_who_may_not_be_acted_for(self, way: Way, name: str) -> None:
        if way.name in ("local", "ssh-community"):
            pytest.skip("one account acts for all")
        with pytest.raises(ConnectFailed, match=f"No session as {name}"):
            way.pool.session(name)
        assert way.session().list("/")
