"""Site files with one mistake each, made from the examples, and the line that must report it.

A variant is the example, the text that is replaced (its first place), what replaces it, and the
report without file and line.
"""

from __future__ import annotations

from typing import NamedTuple

U, C = "university", "centre"
PATH = "expected an absolute path without '..'"
SLURM = "expected a name as Slurm has them: letters, digits and _./:@+=-"
MOUNT = "expected an absolute path without '..', ':', ',' or control marks"
URL = "expected a URL that begins with http:// or https://"
NAME = "expected a name: a letter, then letters, digits and '-', 63 at most"
NETWORK = "expected a network with nothing set beyond its prefix, as in 10.0.0.0/8 or fd00::/8"
CLUSTERS = 'expected one of the clusters: "aspen", "birch" or "cedar"'


class Broken(NamedTuple):
    example: str
    old: str
    new: str
    report: str


BROKEN = [
    # Keys that are missing, unknown, or in the wrong table
    Broken(U, 'name = "example-university"', "", "name: missing, expected text"),
    Broken(
        C, 'public_url = "https://actors.example.org"', "", "public_url: missing, expected text"
    ),
    Broken(U, "spool =", "spol =", 'clusters.campus.spol: unknown key; did you mean "spool"?'),
    Broken(U, "public_url", "public_uri", 'public_uri: unknown key; did you mean "public_url"?'),
    Broken(
        U,
        "[limits]",
        "[limit]",
        'limit: unknown key; did you mean "limits"?',
    ),
    Broken(
        U,
        "[clusters.campus.batch]",
        "webhook_networks = []\n[clusters.campus.batch]",
        "clusters.campus.webhook_networks: unknown key here; it is one of: The file itself",
    ),
    Broken(
        U,
        'container_path = "/datasets", mode = "ro" },\n]',
        'container_path = "/datasets", readonly = true },\n]',
        "tenants.CAMPUS.mounts[2].readonly: unknown key, expected "
        '"host_path", "container_path", "mode" or "if_missing"',
    ),
    Broken(
        U,
        'password_file = "/etc',
        'password = "hunter2"\n#',
        'tenants.CAMPUS.images.logins."registry.hpc.example.edu".password: unknown key; '
        'did you mean "password_file"?',
    ),
    Broken(
        C,
        'host = "login1.aspen.example.org"',
        "",
        "clusters.aspen.ssh.host: missing, expected text",
    ),
    Broken(
        U,
        'cluster = "campus"',
        "",
        "tenants.CAMPUS.cluster: missing, expected text",
    ),
    # Types
    Broken(
        U,
        "time_limit_s = 7200",
        'time_limit_s = "2h"',
        'clusters.campus.time_limit_s: found "2h", expected an integer of at least 60 (seconds)',
    ),
    Broken(
        U,
        "memory_mib = 2048",
        'memory_mib = "2048"',
        'clusters.campus.memory_mib: found "2048", expected an integer of at least 1 (MiB)',
    ),
    Broken(
        C,
        "memory_mib = 3500",
        "memory_mib = 350_000",
        "clusters.aspen.memory_mib: found 350000, expected at most 190000, which a whole_node has",
    ),
    Broken(
        U,
        "cpus_per_task = 1",
        "cpus_per_task = 1.5",
        "clusters.campus.cpus_per_task: found 1.5, expected an integer of at least 1",
    ),
    Broken(
        C,
        "require_digest = true",
        'require_digest = "yes"',
        'tenants.GENOMICS.images.require_digest: found "yes", expected true or false',
    ),
    Broken(
        U,
        'partitions = ["short", "long", "gpu"]',
        'partitions = "short"',
        'clusters.campus.batch.partitions: found "short", expected a list of texts',
    ),
    Broken(
        U,
        "audit_lifetime_s = 63_072_000",
        "audit_lifetime_s = 2027-01-01",
        "audit_lifetime_s: found a date or time, expected an integer of at least 1 (seconds)",
    ),
    Broken(
        U,
        "[tenants.CAMPUS.claims]",
        "[[tenants.CAMPUS.claims]]",
        "tenants.CAMPUS.claims: found a list, expected a table",
    ),
    Broken(
        U,
        'forbidden_users = ["slurm", "backup"]',
        'forbidden_users = ["slurm", 0]',
        "clusters.campus.forbidden_users[1]: found 0, expected text",
    ),
    Broken(
        C,
        "hazards-gateway = 5 ",
        'hazards-gateway = "much" ',
        'tenants.PORTALS.limits.user_weights.hazards-gateway: found "much", expected a number',
    ),
    # Ranges
    Broken(
        U,
        "time_limit_s = 7200",
        "time_limit_s = 30",
        "clusters.campus.time_limit_s: found 30, expected an integer of at least 60 (seconds)",
    ),
    Broken(
        U,
        "max_gpus = 2",
        "max_gpus = -1",
        "clusters.campus.batch.max_gpus: found -1, expected an integer of at least 0",
    ),
    Broken(
        U,
        "clock_skew_s = 30",
        "clock_skew_s = 3600",
        "tenants.CAMPUS.clock_skew_s: found 3600, expected an integer from 0 to 600 (seconds)",
    ),
    Broken(
        U,
        "max_tasks_per_array = 200",
        "max_tasks_per_array = 5_000_000",
        "clusters.campus.max_tasks_per_array: found 5000000, expected an integer from 1 to 4000000",
    ),
    Broken(
        U,
        "idle_timeout_s = 60",
        "idle_timeout_s = inf",
        "clusters.campus.idle_timeout_s: found inf, expected a number of at least 0 (seconds)",
    ),
    Broken(
        C,
        "keepalive_s = 30",
        "port = 70_000",
        "clusters.aspen.ssh.port: found 70000, expected an integer from 1 to 65535",
    ),
    Broken(
        U,
        "weight = 3 ",
        "weight = 0 ",
        "tenants.CAMPUS.limits.weight: found 0, expected a number above 0",
    ),
    Broken(
        C,
        "hazards-gateway = 5 ",
        "hazards-gateway = -5 ",
        "tenants.PORTALS.limits.user_weights.hazards-gateway: found -5.0, "
        "expected a number above 0",
    ),
    Broken(
        C,
        'algorithms = ["RS256"]',
        "algorithms = []",
        "tenants.HAZARDS.algorithms: found an empty list, "
        'expected a list of "RS256" or "ES256" with at least one entry',
    ),
    # Choices and names
    Broken(
        U,
        'mode = "ro" },',
        'mode = "rx" },',
        'tenants.CAMPUS.mounts[0].mode: found "rx", expected "ro" or "rw"',
    ),
    Broken(
        U,
        'session = "setuid"',
        'session = "su"',
        'clusters.campus.session: found "su", expected "setuid", "sudo", "ssh" or "local"',
    ),
    Broken(
        U,
        'algorithms = ["RS256"]',
        'algorithms = ["HS256"]',
        'tenants.CAMPUS.algorithms[0]: found "HS256", expected "RS256" or "ES256"',
    ),
    Broken(
        U, 'case = "snake"', 'case = "kebab"', 'case: found "kebab", expected "camel" or "snake"'
    ),
    Broken(
        U,
        'accounts = "getent"',
        'accounts = "ldap"',
        'tenants.CAMPUS.accounts: found "ldap", expected "getent", "table" or "claims"',
    ),
    Broken(
        U,
        "[tenants.TEACHING]",
        '[tenants."TEACHING 1"]\n[tenants.TEACHING]',
        f'tenants."TEACHING 1": {NAME}',
    ),
    Broken(U, '"example-university"', '"Example, Inc."', f'name: found "Example, Inc.", {NAME}'),
    # References
    Broken(
        C,
        'cluster = "birch"',
        'cluster = "birsh"',
        f'tenants.GENOMICS.cluster: found "birsh", {CLUSTERS}; did you mean "birch"?',
    ),
    Broken(
        C,
        'other_clusters = ["birch"]',
        'other_clusters = ["oak"]',
        f'tenants.PORTALS.other_clusters[0]: found "oak", {CLUSTERS}',
    ),
    Broken(
        C,
        "[tenants.PARTNERS]",
        '[tenants.hazards]\ncluster = "aspen"\njwks_file = "/x"\n[tenants.PARTNERS]',
        "tenants.hazards: differs from tenants.HAZARDS in case alone, expected another name",
    ),
    Broken(
        U,
        '"10.20.0.10/32"',
        '"10.20.0.10/32", "0.0.0.0/0"',
        'trusted_proxies[1]: found "0.0.0.0/0", '
        "expected your own proxies: anybody could say anything",
    ),
    # What one choice makes another key need, and what contradicts another
    Broken(
        U,
        'session = "setuid"',
        'session = "ssh"',
        'clusters.campus.ssh: missing, expected a table, as session is "ssh"',
    ),
    Broken(
        U,
        'slurm = "commands"',
        'slurm = "slurmrestd"',
        'clusters.campus.slurmrestd: missing, expected a table, as slurm is "slurmrestd"',
    ),
    Broken(
        C,
        'key_file = "/etc/bridge/ssh/cedar"',
        "",
        "clusters.cedar.ssh: no key, expected key_file, or agent = true",
    ),
    Broken(
        U,
        'jwks_url = "https://login',
        '# "',
        "tenants.CAMPUS: no key that its tokens may have, "
        "expected public_keys, jwks_file or jwks_url",
    ),
    Broken(
        C,
        'accounts = "getent"',
        'accounts = "table"',
        'tenants.PORTALS.account_table: missing, expected a table, as accounts is "table"',
    ),
    Broken(
        C,
        'login = "cluster_login"',
        "",
        "tenants.GENOMICS.claims.login: missing, expected the name of a claim, "
        'as accounts is "claims"',
    ),
    Broken(
        U,
        'keyring = "/etc/bridge/keys/teachers"',
        "",
        "tenants.TEACHING.images.keyring: missing, expected the directory of public keys, "
        "as signed_only is true",
    ),
    Broken(
        U,
        'login = "crs0002", uid = 21002',
        'login = "crs0002", uid = 999',
        "tenants.TEACHING.account_table.course-2.uid: found 999, "
        "expected at least 1000, clusters.campus.min_uid",
    ),
    Broken(
        U,
        'login = "crs0001"',
        'login = "backup"',
        'tenants.TEACHING.account_table.course-1.login: found "backup", '
        "expected an account under which something may run",
    ),
    Broken(
        U,
        'admin_role = "hpc-actors-admin"',
        'admin_role = "hpc-user"',
        'tenants.CAMPUS.admin_role: found "hpc-user", expected another role than user_role',
    ),
    Broken(
        U,
        "log_ex_s = 86_400",
        "log_ex_s = 8_640_000",
        "limits.log_ex_s: found 8640000, expected at most log_ex_limit_s, 2592000",
    ),
    Broken(
        C,
        "max_message_bytes = 10_000_000",
        "max_message_bytes = 1_000_000_000",
        "tenants.PARTNERS.limits.max_message_bytes: found 1000000000, "
        "expected at most the site's 500000000 (bytes)",
    ),
    Broken(
        U,
        'spool = "/scratch/{login}/.bridge/{cluster}"',
        'spool = "/scratch/bridge/spool"',
        'clusters.campus.spool: found "/scratch/bridge/spool", '
        "expected {login} in it: each owner has one",
    ),
    Broken(
        C,
        'session = "ssh"',
        'session = "setuid"',
        'clusters.birch.session: found "sudo", which a scheduler cannot use that another '
        'cluster\'s "setuid" has made give up root; expected one of the two ways in a site',
    ),
    # Paths, templates, URLs, networks, words
    Broken(
        U,
        '"/scratch/{login}/.bridge',
        '"/scratch/{user}/.bridge',
        'clusters.campus.spool: found "/scratch/{user}/.bridge/{cluster}", '
        "expected no templates but {login}, {username} or {cluster}; did you mean {username}?",
    ),
    Broken(
        U,
        '"/datasets/courses", c',
        '"/datasets/../home", c',
        f'tenants.TEACHING.mounts[0].host_path: found "/datasets/../home", {MOUNT}',
    ),
    Broken(
        U,
        'container_path = "/scratch"',
        'container_path = "scratch"',
        f'tenants.CAMPUS.mounts[1].container_path: found "scratch", {MOUNT}',
    ),
    Broken(
        U,
        'container_path = "/scratch"',
        'container_path = "/scratch/{username"',
        'tenants.CAMPUS.mounts[1].container_path: found "/scratch/{username", '
        "expected every brace to have its other one",
    ),
    Broken(
        U,
        'image_cache = "/scratch/bridge/images"',
        'image_cache = "images"',
        f'clusters.campus.image_cache: found "images", {PATH}',
    ),
    Broken(
        U,
        "https://actors.hpc.example.edu",
        "actors.hpc.example.edu",
        f'public_url: found "actors.hpc.example.edu", {URL} and names a host',
    ),
    Broken(
        U,
        "https://actors.hpc.example.edu",
        "https://bridge:hunter2@actors.hpc.example.edu",
        "public_url: found a URL with a user or password, not shown, "
        f"{URL}, without user and password",
    ),
    Broken(
        U,
        "https://login.example.edu/realms/hpc/p",
        "http://login.example.edu/p",
        "tenants.CAMPUS.jwks_url: "
        'found "http://login.example.edu/protocol/openid-connect/certs", '
        "expected a URL that begins with https:// and names a host",
    ),
    Broken(
        U,
        '"10.20.0.0/16"',
        '"10.20.1.0/16"',
        f'webhook_networks[0]: found "10.20.1.0/16", {NETWORK}',
    ),
    Broken(
        C,
        '"198.51.100.0/24"',
        '"campus"',
        f'webhook_refused_networks[0]: found "campus", {NETWORK}',
    ),
    Broken(
        U,
        'account = "gateways"',
        'account = "gateways --uid=0"',
        f'clusters.campus.account: found "gateways --uid=0", {SLURM}',
    ),
    Broken(
        C,
        'registries = ["docker.io/hazards"',
        'registries = ["https://docker.io/hazards"',
        'tenants.HAZARDS.images.registries[0]: found "https://docker.io/hazards", expected a '
        "registry or a namespace of it, as in docker.io/biocontainers, without a scheme, tag or "
        "digest",
    ),
    Broken(
        C,
        "sha256:7d86",
        "md5:7d86",
        "tenants.PARTNERS.images.digests[0]: "
        'found "md5:7d865e959b2466918c9863afca942d0fb89d7c9ac0c99bafc3749504ded97730", '
        "expected a digest, sha256: and 64 hexadecimal digits",
    ),
    Broken(
        C,
        'version = "v0.0.42"',
        'version = "42"',
        'clusters.birch.slurmrestd.version: found "42", '
        "expected a version of slurmrestd's answers, as in v0.0.42",
    ),
    Broken(
        C,
        'host = "login1.aspen.example.org"',
        'host = "ssh://login1.aspen.example.org"',
        'clusters.aspen.ssh.host: found "ssh://login1.aspen.example.org", '
        "expected a host's name or address, without scheme and port",
    ),
    Broken(
        C,
        'login = "comm"',
        'login = "-oProxyCommand=x"',
        'clusters.cedar.ssh.login: found "-oProxyCommand=x", expected the name of an account',
    ),
    Broken(
        U,
        "https://actors.hpc.example.edu",
        "https://actors.hpc.example.edu:8o80",
        f'public_url: found "https://actors.hpc.example.edu:8o80", {URL} and names a host',
    ),
    Broken(
        U,
        "https://actors.hpc.example.edu",
        "https://actors.hpc.example.edu/?x",
        f'public_url: found "https://actors.hpc.example.edu/?x", {URL}, without query and fragment',
    ),
    Broken(
        C,
        'key_file = "/etc/bridge/ssh/id_ed25519"',
        "agent = true",
        "clusters.aspen.ssh.certificate_file: without key_file, expected the key that it is for",
    ),
    Broken(
        C,
        '[tenants.HAZARDS.images.logins."registry.example.org"]',
        '[tenants.HAZARDS.images.logins."https://registry.example.org"]',
        'tenants.HAZARDS.images.logins."https://registry.example.org": '
        "expected a registry, as in registry.example.org or registry:5000",
    ),
    Broken(
        C,
        'version = "v0.0.42"',
        'apptainer = "-x"',
        "clusters.birch.slurmrestd.apptainer: unknown key here; it is one of: [clusters.NAME]",
    ),
    Broken(
        U,
        'partition = "short"',
        'apptainer = "singularity exec"',
        'clusters.campus.apptainer: found "singularity exec", '
        "expected a program's name or absolute path",
    ),
    # Secrets in the place of their files
    Broken(
        U,
        '"/etc/bridge/keys/teaching.pem"',
        '"""-----BEGIN PRIVATE KEY-----\nhunter2\n-----END PRIVATE KEY-----"""',
        "tenants.TEACHING.private_key: found a text of 61 characters, not shown, "
        f"{PATH}: the name of a file, never what is in it",
    ),
    Broken(
        U,
        '"/etc/bridge/keys/secrets.key"',
        '"hunter2hunter2hunter2="',
        "encryption_key_file: found a text of 22 characters, not shown, "
        f"{PATH}: the name of a file, never what is in it",
    ),
    # What is no TOML
    Broken(U, 'case = "snake"', "case = snake", "not TOML: invalid value"),
    Broken(U, "[queues]", "[queues", "not TOML: expected ']' at the end of a table declaration"),
    Broken(U, 'name = "ex', 'name = "x"\nname = "ex', "not TOML: cannot overwrite a value"),
]
