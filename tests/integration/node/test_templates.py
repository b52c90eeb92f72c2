"""What becomes of messages when the container that theirs are made after dies, or cannot be."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.sandbox

# Kills the processes below one whose command line has a word in it.
KILL_BELOW = """
kill_below() {
  for child in $(cat /proc/$1/task/*/children); do
    kill_below $child "$2"
    ! tr '\\0' ' ' < /proc/$child/cmdline | grep -q "$2" || kill -KILL $child
  done
}
kill_below "$0" "$1"
"""
SCRIPT = '[ "$WAITS" != yes ] || { touch /logs/up; sleep 2; }; ls /bin | head -1'


@pytest.mark.parametrize("whom", ["appinit", "squashfuse", "Apptainer runtime parent"])
def test_a_template_that_is_killed_is_made_anew(node, whom):
    messages = [{"id": n, "env": {"WAITS": "yes" if n == "a" else "no"}, "msg": ""} for n in "abcd"]
    root = node.next_root()
    node.spool(SCRIPT, messages, root=root, binds=[[f"{root}/logs", "/logs", "rw"]])
    pid = node.sandbox.start(node.name, node.worker(root), user="alice", log_path=f"{root}/out")
    node.wait_for(lambda: "up" in node.run("ls", f"{root}/logs").split())

    node.run("sh", "-c", KILL_BELOW, str(pid), whom)
    node.wait_for(lambda: any(r["t"] == "left" for r in node.records(root)))

    ends = node.finished(root)
    assert [(ends[n]["exit_code"], ends[n]["runtime_error"]) for n in "bcd"] == [(0, None)] * 3
    assert [r for r in node.records(root) if r["t"] == "fell_back"] == []
    node.wait_for(lambda: not node.left_running())


REFUSES = """\
#!/bin/sh
case " $* " in *" --userns "*) echo "FATAL: no user namespaces here" >&2; exit 255 ;; esac
exec /usr/local/bin/apptainer "$@"
"""


def test_a_node_that_cannot_goes_on_with_apptainer_and_says_why_once(node):
    runtime = f"{node.sif}.runtime"
    node.write({runtime: REFUSES})
    node.run("chmod", "+x", runtime)
    messages = [{"id": name, "env": {}, "msg": name} for name in "ab"]

    root = node.spool("echo $MSG", messages, apptainer=runtime)
    ends = node.work(root)

    assert [ends[name]["log"] for name in "ab"] == ["a\n", "b\n"]
    [told] = [r for r in node.records(root) if r["t"] == "fell_back"]
    assert (told["to"], told["why"]) == (
        "none",
        "no template starts: FATAL: no user namespaces here",
    )
