"""Files that messages open are copied into the template's memory, and no message can tell."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.sandbox

# The first and the last message look at all of the image's system; all that lie between open the
# interpreter's own files.
LOOK = r"""
import hashlib, json.decoder, os
if os.environ["MSG"] == "look":
    found = hashlib.sha256()
    for folder, folders, files in os.walk("/usr"):
        folders.sort()
        for name in [".", *sorted(folders + files)]:
            path = os.path.join(folder, name)
            seen = os.lstat(path)
            content = b""
            if os.path.isfile(path) and not os.path.islink(path):
                with open(path, "rb") as file:
                    content = hashlib.sha256(file.read()).digest()
            link = os.readlink(path) if os.path.islink(path) else ""
            known = path, link, seen.st_mode, seen.st_uid, seen.st_gid, seen.st_mtime_ns
            found.update(repr((known, content)).encode())
            if not os.path.isdir(path):
                found.update(repr((seen.st_size, seen.st_nlink)).encode())
    print(found.hexdigest(), flush=True)
else:
    opened = json.decoder.__cached__
    print(os.stat(opened).st_ctime_ns)
    os.rename(opened, opened + ".moved")
    open(opened, "w").close()
"""
MESSAGES = 200


@pytest.fixture
def ends(node):
    messages = [{"id": f"m{n}", "env": {}, "msg": "x"} for n in range(MESSAGES)]
    messages = [{"id": "first", "env": {}, "msg": "look"}, *messages]
    messages.append({"id": "last", "env": {}, "msg": "look"})
    root = node.spool(["python3", "-c", LOOK], messages, sif=node.python_sif)
    ends = node.work(root)
    assert [end["log"] for end in ends.values() if end["exit_code"] != 0] == []
    return ends


def test_a_file_is_copied_and_looks_as_before(node, ends):
    changed = [int(ends[f"m{n}"]["log"]) for n in range(MESSAGES)]

    assert changed[-1] > changed[0]
    assert len(set(changed)) == 2  # copied once; what messages do to it stays theirs
    assert ends["first"]["log"] == ends["last"]["log"]
    node.wait_for(lambda: not node.left_running())
