"""GPUs of a job: how the runtime is told to show them, and whose is which in a task with slots."""

import os
from typing import Dict, List, Mapping

from bridge.node.cpus import divide

# What names the GPUs of a job to those who use them (CUDA, ROCm, and NVIDIA's container tools).
# Slurm sets them; without them an actor would use all that the node has.
GPU_NAMES = ("CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES")
_OPTIONS = (("nvidiactl", "--nv"), ("kfd", "--rocm"))


def gpu_options(devices: str = "/dev") -> List[str]:
    """Return the runtime's option for the GPUs that the node has.

    One at most: given both, Apptainer warns and takes --nv alone. For what has neither device there
    is none, and the option would only make the runtime complain in every log.
    """
    for name, option in _OPTIONS:
        if os.path.exists(os.path.join(devices, name)):
            return [option]
    return []


def divide_gpus(environ: Mapping[str, str], slots: int) -> List[Dict[str, str]]:
    """Return for each slot the variables of `GPU_NAMES` that are set, with its part of the GPUs.

    Where there are fewer GPUs than slots, or where they are not listed (``all``), each slot has
    them all.
    """
    found: List[Dict[str, str]] = [{} for _ in range(slots)]
    for name in GPU_NAMES:
        if name not in environ:
            continue
        listed = environ[name].split(",")
        parts = divide(listed, slots) if len(listed) >= slots else [listed] * slots
        for number, part in enumerate(parts):
            found[number][name] = ",".join(part)
    return found
