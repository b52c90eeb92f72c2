"""From a plan to what lies in the spool and goes to sbatch: array.json, chunks, the batch script.

Door: `ArrayContext`, `render_script`, `build_array_json`, `build_message`.
"""

from bridge.launcher.context import ArrayContext
from bridge.launcher.render import render_script
from bridge.launcher.spool import build_array_json, build_message

__all__ = ["ArrayContext", "build_array_json", "build_message", "render_script"]
