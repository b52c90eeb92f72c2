"""What the helpers of `agavepy.actors` say of a message, as the results of it.

The first result is the context as JSON, the second the binary message itself, where there is one,
the third what `send_python_result` makes of a set.
"""

import json
from pathlib import Path

from agavepy.actors import (
    get_binary_message,
    get_context,
    send_bytes_result,
    send_python_result,
)

context = get_context()
send_bytes_result(json.dumps(dict(context)).encode())
if Path("/_abaco_binary_data").exists():
    send_bytes_result(get_binary_message())
send_python_result({1, 2, 3})
