"""What is planned for the next container, from what one has mounted."""

from __future__ import annotations

import pytest

from bridge.node.linux import MS_NODEV, MS_NOEXEC, MS_NOSUID, MS_RDONLY
from bridge.node.mounts import (
    BIND,
    COPY,
    MOVE,
    NEW,
    Mount,
    MountsError,
    Step,
    find_root,
    parse_mountinfo,
    plan_mounts,
)

# As Apptainer 1.4.5 makes them; 0:65, 0:29, 0:64 and 254:0 are the host's too.
INFO = r"""
419 351 0:114 / / rw,nodev,relatime unbindable - overlay overlay rw,lowerdir=/a:/b,xino=on
429 419 0:112 /dev /dev rw,nosuid,relatime master:38 - tmpfs tmpfs rw,size=65536k,uid=2001
430 429 0:117 / /dev/shm rw,nosuid,nodev,relatime - tmpfs tmpfs rw,size=9k,uid=2001
431 429 0:111 / /dev/mqueue rw,nosuid,nodev,relatime - mqueue mqueue rw
432 429 0:118 / /dev/pts rw,nosuid,noexec,relatime - devpts devpts rw,mode=620,ptmxmode=666
434 429 0:64 /null /dev/null rw,nosuid,noexec master:15 - tmpfs tmpfs rw,size=65536k,mode=755
440 419 0:119 / /proc rw,nosuid,nodev,relatime - proc proc rw
441 419 0:65 / /sys rw,nosuid,nodev,noexec,relatime master:21 - sysfs sysfs rw
443 441 0:29 /job /sys/fs/cgroup rw,nosuid,nodev,noexec master:23 - cgroup2 cgroup rw,cpu
457 419 0:112 /tmp /tmp rw,nosuid,nodev,relatime master:38 - tmpfs tmpfs rw,size=65536k
458 457 254:0 /place /tmp/ours rw,nosuid,nodev - ext4 /dev/vda rw
459 458 254:0 /place /tmp/ours/ro ro,nosuid,nodev - ext4 /dev/vda rw
462 419 254:0 /alice/b /my\040bind\134 ro,nosuid,nodev,relatime master:20 - ext4 /dev/vda rw,discard
""".strip()
HOST = frozenset({"0:64", "0:65", "0:29", "254:0"})


OURS = frozenset({"/tmp/ours", "/tmp/ours/ro"})


def plan(text: str = INFO, left_out: frozenset[str] = frozenset()) -> list[Step]:
    return plan_mounts(parse_mountinfo(text), HOST, left_out)


def test_each_mount_is_made_again_in_its_own_way():
    assert plan(INFO, OURS) == [
        Step(COPY, "/dev", flags=MS_NOSUID),
        Step(NEW, "/dev/shm", "tmpfs", MS_NOSUID | MS_NODEV, ("size=9k",)),
        Step(NEW, "/dev/mqueue", "mqueue", MS_NOSUID | MS_NODEV),
        Step(
            NEW,
            "/dev/pts",
            "devpts",
            MS_NOSUID | MS_NOEXEC,
            ("mode=620", "ptmxmode=666", "newinstance"),
        ),
        Step(MOVE, "/dev/null"),
        Step(NEW, "/proc", "proc", MS_NOSUID | MS_NODEV),
        Step(MOVE, "/sys"),
        Step(COPY, "/tmp", flags=MS_NOSUID | MS_NODEV),
        Step(MOVE, "/my bind\\"),
    ]


def test_a_read_only_file_system_of_its_own_stays_so():
    [step] = plan("1 0 0:9 / /x ro,nosuid - tmpfs tmpfs rw,size=1k")

    assert (step.how, step.flags) == (NEW, MS_RDONLY | MS_NOSUID)


def test_a_bind_with_something_of_the_containers_below_is_made_one_by_one():
    below = "\n500 441 0:200 / /sys/own rw - tmpfs tmpfs rw"

    steps = {step.point: step for step in plan(INFO + below, OURS)}

    assert steps["/sys"].how == BIND
    assert steps["/sys/fs/cgroup"].how == MOVE
    assert steps["/sys/own"].how == NEW


def test_of_two_mounts_on_one_point_the_upper_is_seen():
    steps = plan("1 0 254:0 / /x rw - ext4 d rw\n2 1 0:9 / /x rw - tmpfs t rw")

    assert [step.how for step in steps] == [NEW]


def test_a_kind_that_is_not_known_is_refused():
    with pytest.raises(MountsError, match=r"/x of a container .* type fuse\.sshfs"):
        plan("1 0 0:77 / /x rw - fuse.sshfs sshfs rw")


def test_what_only_the_template_has_must_be_where_it_was_asked_for():
    with pytest.raises(MountsError, match="/tmp/ours/ro of a container is mounted elsewhere"):
        plan(INFO.replace("/tmp/ours/ro", "/image/ours/ro"), OURS)


@pytest.mark.parametrize("fstype", ["fuse.fuse-overlayfs", "tmpfs", "ext4"])
def test_only_the_kernels_overlay_can_be_a_root(fstype):
    root = Mount("0:1", "/", "/", ("rw",), fstype, ("rw",))

    with pytest.raises(MountsError, match=fstype):
        find_root([root])
    assert find_root([root._replace(fstype="overlay")]).fstype == "overlay"
