"""Call the function in the binary message and send what it returns as the result."""

import socket
from pathlib import Path

import cloudpickle

call = cloudpickle.loads(Path("/_abaco_binary_data").read_bytes())
answer = call["func"](*call["args"], **call["kwargs"])
with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as results:
    results.connect("/_abaco_results.sock")
    results.send(cloudpickle.dumps(answer))
print("Called", getattr(call["func"], "__name__", call["func"]))
