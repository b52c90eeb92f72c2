"""Names that cross from a caller to the owner's container (design section 6)."""

from __future__ import annotations

import pytest

from bridge.core.environment import MAX_VALUE_BYTES, check_name, check_value
from bridge.errors import InvalidField


@pytest.mark.parametrize(
    "name",
    ["A", "a_1", "_x", "x-nonce", "_abaco_synchronous", "path", "env", "user", "PSI", "UID",
     "HOMES", "R_0", "GITHUB", "node_options"],
)  # fmt: skip
def test_names_a_caller_may_set(name):
    check_name(name, "the query", by_caller=True)


@pytest.mark.parametrize(
    "name",
    [
        "", "1a", "a-b", "a b", "a\n", "é", "a=b", "APPTAINERENV_X", "SINGULARITY_BIND", "SLURM_X",
        "SBATCH_X", "_abaco_actor_id", "LD_PRELOAD", "PYTHONPATH", "PATH", "HOME", "MSG", "IFS",
        "BASH_ENV", "_actor_configs", "PREPEND_PATH", "APPEND_PATH",
        "SING_USER_DEFINED_PREPEND_PATH", "_bridge_shim_1", "http_proxy", "HTTPS_PROXY",
        "SSL_CERT_FILE", "SSLKEYLOGFILE", "GIT_SSH", "REQUESTS_CA_BUNDLE", "NODE_OPTIONS",
        "PERL5OPT", "PERLLIB", "RUBYOPT", "JAVA_TOOL_OPTIONS", "GLIBC_TUNABLES", "SHELLOPTS",
        "PS4", "CUDA_INJECTION64_PATH", "LESSOPEN", "HOSTALIASES", "SLURM", "SALLOC_ACCOUNT",
        "A\0", "A\r", "A B", "$(id)", "`id`", "A;B", "--", "BASH_FUNC_ls%%",
    ],
)  # fmt: skip
def test_names_a_caller_may_not_set(name):
    with pytest.raises(InvalidField):
        check_name(name, "the query", by_caller=True)


@pytest.mark.parametrize("name", ["PATH", "PYTHONPATH", "LD_LIBRARY_PATH"])
def test_the_actor_itself_may_set_more(name):
    check_name(name, "default_environment", by_caller=False)


@pytest.mark.parametrize(
    "name", ["x-nonce", "_abaco_actor_id", "_bridge_shim_n", "SLURM_X", "APPTAINER_BIND"]
)
def test_but_not_everything(name):
    with pytest.raises(InvalidField):
        check_name(name, "default_environment", by_caller=False)


def test_values():
    check_value("A", "x" * MAX_VALUE_BYTES, "the query")
    for value in ("x" * (MAX_VALUE_BYTES + 1), "a\0b", "\ud800"):
        with pytest.raises(InvalidField):
            check_value("A", value, "the query")
