"""What the client scripts share: where the bridge is, and waiting for it.

The scripts run in the environments of the clients, or in an image, and import nothing of the suite.
BRIDGE is a JSON object: `url`, `token` and `user`; `tenant`; `other`, another user of the tenant,
and `other_token`; `admin_token`; `images`, the nodes' reference to each sample.
"""

import json
import os
import time

BRIDGE = json.loads(os.environ["BRIDGE"])
TIMEOUT_S = 120


def wait_until(read, is_right, what):
    """Read again and again until what was read is right; return it."""
    deadline = time.monotonic() + TIMEOUT_S
    while True:
        found = read()
        if is_right(found):
            return found
        assert time.monotonic() < deadline, f"waited {TIMEOUT_S} s for {what}; last seen: {found}"
        time.sleep(0.5)


def expect(error_type, call, text=""):
    """Return the error that `call` must end in, with `text` in its message."""
    try:
        answer = call()
    except error_type as error:
        raised = error
    else:
        raise AssertionError(f"expected {error_type.__name__}, got {answer!r}")
    assert text in str(raised), raised
    return raised


def done(what):
    """Say how far the script has come: shown when it fails later."""
    print("ok:", what, flush=True)
