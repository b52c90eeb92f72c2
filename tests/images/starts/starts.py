"""Note the id of each message, a line each, in a file of this process's own below /scratch/starts.

A message is noted before anything else is done about it, with one write.
"""

import json
import os
import sys
import time
from pathlib import Path


def main():
    """Serve the messages of a process that stays, or the one of a container of its own."""
    Path("/scratch/starts").mkdir(exist_ok=True)
    name = f"/scratch/starts/{os.uname().nodename}.{os.getpid()}.{time.time_ns()}"
    notes = os.open(name, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL, 0o600)
    if "_abaco_request_fd" not in os.environ:
        os.write(notes, (os.environ["_abaco_execution_id"] + "\n").encode())
        print("noted")
        return
    reply = int(os.environ["_abaco_reply_fd"])
    os.write(reply, b"ready json\n")
    with os.fdopen(int(os.environ["_abaco_request_fd"]), encoding="utf-8") as requests:
        for line in requests:
            message = json.loads(line)
            os.write(notes, (message["env"]["_abaco_execution_id"] + "\n").encode())
            sys.stdout.write("noted\n")
            sys.stdout.flush()
            os.write(reply, f"done {message['id']} 0\n".encode())


main()
