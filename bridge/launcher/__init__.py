"""From a plan to what lies in the spool and goes to sbatch: array.json, chunks, the batch script.

Door: `ArrayContext`, `render_script`, `build_request`, `build_array_json`, `build_message`.
"""

from bridge.launcher.context import ArrayContext
from bridge.launcher.render import render_script
from bridge.launcher.request import build_request
from bridge.launcher.spool import build_array_json, build_message

__all__ = ["ArrayContext", "build_array_json", "build_message", "build_request", "render_script"]
