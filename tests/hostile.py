"""What an attacker writes where a name or a value is asked for; shared by the attack tests."""

from __future__ import annotations

CANARY = "attack-canary"
# Where a container, and where a node, would leave it.
_TOUCH = f"touch /scratch/{CANARY} /scratch/alice/{CANARY};"

# Each of them can be a text; evaluated anywhere, the first ones leave a file behind.
VALUES = {
    "substitution": f"$({_TOUCH})",
    "backticks": f"`{_TOUCH}`",
    "newline": f"x\n{_TOUCH}\n",
    "carriage return": f"x\r\n{_TOUCH}\r\n",
    "quotes": f"'; {_TOUCH} '",
    "double quotes": f'"; {_TOUCH} "',
    "quoted substitution": f"'\"$({_TOUCH})\"'",
    "separators": f"x & {_TOUCH} | {_TOUCH} || {_TOUCH}",
    "directive": "x\n#SBATCH --array=0-999\n#SBATCH --uid=0\n#SBATCH --comment=pwned\n",
    "commas": "a,APPTAINER_BIND=/etc,b=c",
    "colons": "/etc:/mnt:rw",
    "end of options": "--",
    "option": "--export=ALL",
    "short option": "-n",
    "arithmetic": f"$((1/0))$[x[$({_TOUCH})]]",
    "expansion": f"${{IFS}}${{x:=$({_TOUCH})}}$HOME",
    "function": f"() {{ :; }}; {_TOUCH}",
    "globs": "*?[a-z]~root{a,b}!!",
    "printf": "%s%n%d\\n\\0\\x41",
    "template": "{{ 7*7 }}{% for x in y %}#{7*7}${7*7}<%= 7*7 %>",
    "format": "{0.__class__.__mro__}{username}{tenant}",
    "log lookup": "${jndi:ldap://127.0.0.1/x}",
    "mark-up": "<script>alert(1)</script><!--",
    "SQL": "'); DROP TABLE executions; --",
    "terminal": "\x1b]0;x\x07\x1b[2J\x7f\x01",
    "direction": "\u202eabc\u2066\ufeff\u2028\u2029\x85",
    "path": "../../../../etc/passwd",
    "spaces": "  \t  ",
    "empty": "",
    "long": "x" * 60_000,
}

# Names of variables, none of which anybody may set with a message.
NAMES = [
    "LD_PRELOAD", "LD_LIBRARY_PATH", "LD_AUDIT", "PATH", "PREPEND_PATH", "APPEND_PATH",
    "BASH_ENV", "ENV", "IFS", "PS4", "SHELLOPTS", "PYTHONPATH", "PYTHONSTARTUP", "PERL5OPT",
    "NODE_OPTIONS", "HOME", "TMPDIR", "http_proxy", "HTTPS_PROXY", "SSL_CERT_FILE",
    "GIT_SSH_COMMAND", "APPTAINER_BIND", "APPTAINER_ADD_CAPS", "APPTAINERENV_X",
    "APPTAINER_ENV_FILE", "SINGULARITY_BIND", "SINGULARITYENV_X", "SLURM_JOB_ID", "SLURM_CONF",
    "SLURM_JWT", "SBATCH_ARRAY_INX", "SBATCH_UID", "SRUN_CPUS_PER_TASK", "_abaco_access_token",
    "_abaco_username", "_abaco_api_server", "_bridge_shim_1", "_actor_configs", "MSG", "", "A B",
    "A=B", "A\n", "A\0", "1A", "-x", "--", "$(id)", "`id`", "A;B", "A,B", "\u00c5",
    "BASH_FUNC_ls%%", "A[$(id)]", "../A",
]  # fmt: skip
# ... and those that not even the owner may, in the actor's description.
OWNERS_NAMES = [
    name
    for name in NAMES
    if not name.isidentifier()
    or name.startswith(("APPTAINER", "SINGULARITY", "SLURM", "SBATCH", "SRUN", "_abaco", "_bridge"))
]
