"""GPUs: the runtime's option, and dividing them between slots."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.node.gpus import divide_gpus, gpu_options


@pytest.mark.parametrize(
    ("devices", "options"),
    [
        (["nvidiactl", "nvidia0"], ["--nv"]),
        (["kfd", "dri"], ["--rocm"]),
        (["nvidiactl", "kfd"], ["--nv"]),  # the runtime takes one alone
        (["null"], []),
    ],
)
def test_the_option_is_that_of_the_node(tmp_path, devices, options):
    for name in devices:
        (tmp_path / name).touch()

    assert gpu_options(str(tmp_path)) == options


def test_gpus_are_divided_whoever_made_them():
    environ = {
        "CUDA_VISIBLE_DEVICES": "0,1,2,3",
        "ROCR_VISIBLE_DEVICES": "GPU-a,GPU-b",
        "PATH": "/bin",
    }

    assert divide_gpus(environ, 2) == [
        {"CUDA_VISIBLE_DEVICES": "0,1", "ROCR_VISIBLE_DEVICES": "GPU-a"},
        {"CUDA_VISIBLE_DEVICES": "2,3", "ROCR_VISIBLE_DEVICES": "GPU-b"},
    ]


@pytest.mark.parametrize("listed", ["all", "0,1", ""])
def test_gpus_that_are_too_few_or_not_listed_are_everybodys(listed):
    found = divide_gpus({"NVIDIA_VISIBLE_DEVICES": listed}, 3)

    assert found == [{"NVIDIA_VISIBLE_DEVICES": listed}] * 3


@given(st.lists(st.integers(0, 99).map(str), unique=True, min_size=1), st.integers(1, 20))
def test_no_gpu_is_given_twice_or_forgotten(gpus, slots):
    found = divide_gpus({"CUDA_VISIBLE_DEVICES": ",".join(gpus)}, slots)

    given = [gpu for own in found for gpu in own["CUDA_VISIBLE_DEVICES"].split(",")]
    assert given == (gpus if slots <= len(gpus) else gpus * slots)
