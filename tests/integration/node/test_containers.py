"""What an actor sees, and how it ends, in a container that Apptainer makes."""

from __future__ import annotations

import base64

import pytest

pytestmark = [
    pytest.mark.sandbox,
    pytest.mark.parametrize("node", ["none", "image"], indirect=True),
]

EVAL = 'eval "$MSG"'


def run_scripts(node, scripts, **fields):
    """Run each script in a container of its own; return the `finished` records by name."""
    messages = [{"id": name, "env": {}, "msg": text} for name, text in scripts.items()]
    return node.work(node.spool(EVAL, messages, **fields))


def test_exit_codes(node):
    scripts = {
        "0": "exit 0",
        "3": "exit 3",
        "255": "exit 255",
        "137": "kill -9 $$",
        "143": "kill -15 $$",
        "139": "kill -SEGV $$",
        "127": "exec /no/such",
    }

    ends = run_scripts(node, scripts)

    assert {name: str(end["exit_code"]) for name, end in ends.items()} == {n: n for n in scripts}
    assert {end["runtime_error"] for end in ends.values()} == {None}


VALUES = [
    "",
    "two\nlines",
    "ends with newlines\n\n\n",
    "$(touch /tmp/x) `id` ${HOME} $MSG \\$x",
    "a,b=c,d:e",
    "'single' \"double\" \\ back\\\\slash",
    "tab\there *?[]{}~#!",
    "žluťoučký kůň 你好 🐎",
    "-n",
    "x" * 100_000,
]


@pytest.mark.parametrize("name", ["MSG", "a-b", "_abaco_Content-Type", "HOME"])
def test_values_arrive_byte_for_byte(node, name):
    messages = [{"id": f"v{n}", "env": {name: v, "A": "1"}} for n, v in enumerate(VALUES)]
    print_it = "import os, sys; sys.stdout.buffer.write(os.environb[sys.argv[1].encode()] + b'1')"
    command = ["python3", "-c", print_it, name]

    ends = node.work(node.spool(command, messages, sif=node.python_sif))

    assert [end["log"] for end in ends.values()] == [value + "1" for value in VALUES]


def test_the_environment_is_the_images_and_the_messages(node):
    message = {"id": "a", "env": {"x-nonce": "1", "QUERY": "2"}, "msg": "hi"}

    end = node.work(node.spool(["env"], [message], environment={"SHARED": "3"}))["a"]

    found = dict(line.partition("=")[::2] for line in end["log"].splitlines())
    assert (found["x_nonce"], found["QUERY"], found["SHARED"]) == ("1", "2", "3")
    assert len(found["_abaco_worker_id"]) == 13
    assert found["MSG"] == "hi"
    assert not [name for name in found if name.startswith(("SLURM", "_bridge", "TMPDIR", "SSH"))]
    assert not [value for value in found.values() if "bridge-worker" in value]


def test_nothing_of_the_host_is_seen(node):
    scripts = {
        "folders": "ls -d /scratch /work /corral /home/alice /usr/local/lib/sandbox 2>/dev/null",
        "tmp": "ls -A /tmp /var/tmp; pwd",
        "processes": "ls -d /proc/[0-9]* | wc -l",
        "descriptors": "ls /proc/self/fd",
        "user": "id -u; id -g",
    }

    ends = run_scripts(node, scripts)

    assert ends["folders"]["log"] == ""
    assert ends["tmp"]["log"].split() == ["/tmp:", "/var/tmp:", "/"]
    assert int(ends["processes"]["log"]) < 8
    assert ends["descriptors"]["log"].split() == ["0", "1", "2", "3"]  # 3 is what ls reads
    assert ends["user"]["log"].split() == ["2001", "2001"]


def test_each_message_has_a_root_of_its_own_to_write_to(node):
    write = "ls -A /srv /tmp; echo x > /srv/x; echo x > /tmp/x; mkdir /new; cat /srv/x /tmp/x"

    ends = run_scripts(node, {"a": write, "b": write}, workdir="/srv")

    assert ends["a"]["log"] == ends["b"]["log"] == "/srv:\n\n/tmp:\nx\nx\n"


def test_nothing_is_left_in_the_home(node):
    node.run("sh", "-c", "rm -rf ~/.apptainer ~/.singularity")
    before = node.run("sh", "-c", "ls -A ~")

    run_scripts(node, {"a": "true"})

    assert node.run("sh", "-c", "ls -A ~") == before


def test_binary_data_is_a_file_to_read(node):
    data = bytes(range(256)) * 300
    command = (
        "md5sum < /_abaco_binary_data; echo x > /_abaco_binary_data; echo ${MSG-none};"
        "stat -c %F /_abaco_binary_data"
    )
    messages = [
        {"id": "inline", "env": {}, "data": base64.b64encode(data).decode()},
        {"id": "infile", "env": {}, "file": True},
    ]
    root = node.spool(command, messages)
    node.sandbox.put(node.name, f"{root}/payload/infile", data, owner="alice")
    digest = node.run("md5sum", f"{root}/payload/infile").split()[0]

    ends = node.work(root)

    for end in ends.values():
        said = end["log"].splitlines()
        assert said[0].split()[0] == digest
        assert "Read-only file system" in said[1] or "Permission denied" in said[1]
        assert said[2:] == ["none", "regular file"]


def test_binds_with_their_modes_and_odd_names(node):
    place = f"{node.sif}.bind/a,b:c d"
    node.write({f"{place}/file": "shared"})
    binds = [[place, "/odd:x,y", "ro"], [place, "/rw", "rw"]]

    ends = run_scripts(
        node,
        {"a": "cat /odd:x,y/file; echo no > /odd:x,y/new; echo yes > /rw/new; cat /odd:x,y/new"},
        binds=binds,
    )

    said = ends["a"]["log"]
    assert said.startswith("shared")
    assert "Read-only" in said
    assert said.endswith("yes\n")


@pytest.mark.parametrize(
    ("command", "fields", "said"),
    [
        (["/no/such"], {}, "command not found in the image: /no/such"),
        (["no-such-program"], {}, "command not found in the image: no-such-program"),
        (["true"], {"workdir": "/no/dir"}, "/no/dir"),
        (["true"], {"binds": [["/no/such/source", "/x", "ro"]]}, "/no/such/source"),
    ],
)
def test_what_cannot_start_is_no_result_of_the_actor(node, command, fields, said):
    end = node.work(node.spool(command, [{"id": "a", "env": {"x-y": "1"}, "msg": ""}], **fields))[
        "a"
    ]

    assert said in end["runtime_error"]
    assert end["log"] == ""


def test_an_image_without_a_shell_is_told_so(node):
    make = (
        'cd "$(mktemp -d)" && mkdir -p root/bin root/etc root/proc root/sys root/dev root/tmp'
        ' && cp /bin/true root/bin && apptainer --silent build --force "$0" root'
    )
    sif = f"{node.sif}.noshell.sif"
    node.run("sh", "-c", make, sif, timeout_s=60)

    end = node.work(node.spool(["/bin/true"], [{"id": "a", "env": {}, "msg": ""}], sif=sif))["a"]

    assert "/bin/sh" in end["runtime_error"]


def test_an_image_that_is_none_is_told_so(node):
    sif = f"{node.sif}.rubbish"
    node.write({sif: "rubbish"})

    end = node.work(node.spool(["true"], [{"id": "a", "env": {}, "msg": ""}], sif=sif))["a"]

    assert end["runtime_error"]
    assert end["exit_code"] == 255


def test_output_comes_in_order_and_all_of_it_is_counted(node):
    scripts = {
        "order": "for i in 1 2 3; do echo o$i; echo e$i >&2; done",
        "long": "head -c 12000000 /dev/zero",
    }

    root = node.spool(EVAL, [{"id": n, "env": {}, "msg": s} for n, s in scripts.items()])
    ends = node.work(root)

    assert ends["order"]["log"].split() == ["o1", "e1", "o2", "e2", "o3", "e3"]
    long = ends["long"]
    assert (long["log"], long["log_bytes"], long["log_truncated"]) == (None, 12_000_000, True)
    assert node.run("stat", "-c", "%s %a", f"{root}/logs/long").split() == ["10000000", "600"]


def test_usage_is_of_the_one_message(node):
    scripts = {
        "idle": "true",
        "busy": "python3 -c 'sum(range(30_000_000))'",
        "large": "python3 -c 'bytearray(300_000_000)'",
        "after": "true",
    }

    ends = run_scripts(node, scripts, sif=node.python_sif)

    assert ends["busy"]["cpu_ns"] > ends["idle"]["cpu_ns"] + 200_000_000
    assert ends["large"]["max_rss_kib"] > 250_000
    assert ends["after"]["max_rss_kib"] < 150_000
