"""Take memory in steps, every page of it written to, and hold it long enough to be seen."""

import os
import time

STEP_MIB = 16
HELD_S = 3

wanted = int(os.environ["MSG"])
held = [
    bytearray(os.urandom(4096)) * (min(STEP_MIB, wanted - step) * 256)
    for step in range(0, wanted, STEP_MIB)
]
print(f"holding {wanted} MiB")
time.sleep(HELD_S)
print("released")
