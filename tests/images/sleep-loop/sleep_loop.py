"""Sleep again and again, as the JSON message says. Abaco hands JSON over as Python writes it."""

import ast
import os
import time

message = ast.literal_eval(os.environ["MSG"])
for number in range(1, message["iterations"] + 1):
    time.sleep(message["sleep"])
    print(f"iteration {number} of {message['iterations']}")
