"""Images that not everybody may have, on the real cluster: private, signed, by their path."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

import pytest

from bridge.errors import SandboxError
from tests.cluster import Cluster, wait_for

pytestmark = pytest.mark.sandbox

APPS = "/corral/sif"
KEYS = "/var/lib/bridge/keys"
SIGNER = "/root/signer"
PRIVATE = "registry:5001"
PASSWORD = "correct-horse"  # the sandbox's own
POLICY = f'images.sif_directories = ["{APPS}"]\n'
SIGNED = f'images.signed_only = true\nimages.keyring = "{KEYS}"\n'
CACHE = "/work/.bridge/images"


def shell(cluster: Cluster, script: str, node: str = "login", **options: object) -> str:
    done = cluster.sandbox.run(node, ["sh", "-ec", script], **options)  # type: ignore[arg-type]
    return str(done.stdout)


def answers(cluster: Cluster) -> bool:
    script = ["bash", "-c", "exec 3<> /dev/tcp/127.0.0.1/5001"]
    return cluster.sandbox.run("registry", script, check=False).returncode == 0


def configure(cluster: Cluster, biology: str) -> None:
    """Start the bridge anew: SIF files for everybody, and these lines for carol's tenant."""
    for name in ("api", "scheduler"):
        cluster.service.stop(name)
    physics, other = 'cluster = "sandbox"\naccount = "physics"\n', 'account = "biology"\n'
    cluster.service.ensure(
        {
            physics: physics + POLICY,
            other: other + POLICY + biology,
            'insecure_registries = ["registry:5000"]': (
                f'insecure_registries = ["registry:5000", "{PRIVATE}"]'
            ),
        }
    )


@pytest.fixture(scope="module")
def files(cluster: Cluster) -> Iterator[None]:
    """A plain, a signed and a tampered SIF; a registry with a password; carol's tenant signs."""
    image = cluster.sandbox.ensure_image("echo")
    shell(
        cluster,
        f"""
        install -d -m 0755 {APPS}
        install -d -o bridge -m 0700 {KEYS}
        install -d -m 0700 {SIGNER}
        export HOME={SIGNER} APPTAINER_KEYSDIR={SIGNER}/keys
        apptainer --silent pull --no-https --force {APPS}/plain.sif docker://{image}
        apptainer key newpair --name lab --email lab@example.org --comment x --password '' \\
            --push=false < /dev/null
        cp {APPS}/plain.sif {APPS}/signed.sif
        apptainer --silent sign {APPS}/signed.sif
        cp {APPS}/signed.sif {APPS}/tampered.sif
        python3 -c 'import sys
with open(sys.argv[1], "r+b") as file:
    place = file.read().index(b"hsqs") + 4096
    file.seek(place)
    byte = file.read(1)[0]
    file.seek(place)
    file.write(bytes([byte ^ 255]))' {APPS}/tampered.sif
        install -o bridge -m 0600 {SIGNER}/keys/pgp-public {KEYS}/pgp-public
        chmod 0644 {APPS}/*.sif
        apptainer --silent push --no-https {APPS}/signed.sif oras://registry:5000/lab/signed:1
        apptainer --silent push --no-https {APPS}/plain.sif oras://registry:5000/lab/plain:1
        """,
        timeout_s=300,
    )
    hashed = shell(cluster, f"perl -e 'print crypt(shift, q($2y$05$abcdefghijklmnopqrstuu))' "
                            f"{PASSWORD}")  # fmt: skip
    assert hashed.startswith("$2y$")
    shell(
        cluster,
        f"""
        printf 'alice:%s\\n' {shlex.quote(hashed)} > /etc/docker-registry-users
        sed -e 's/:5000/:5001/' /usr/local/lib/sandbox/registry.yml > /etc/private-registry.yml
        echo 'auth: {{htpasswd: {{realm: private, path: /etc/docker-registry-users}}}}' \\
            >> /etc/private-registry.yml
        setsid docker-registry serve /etc/private-registry.yml \\
            < /dev/null > /var/log/private-registry.log 2>&1 &
        echo $! > /run/private-registry.pid
        """,
        node="registry",
    )
    wait_for(lambda: answers(cluster), 20, "the private registry")
    configure(cluster, SIGNED)
    yield
    shell(cluster, "kill $(cat /run/private-registry.pid)", node="registry")
    for name in ("api", "scheduler"):
        cluster.service.stop(name)
    cluster.start()


def run(cluster: Cluster, username: str, image: str) -> str:
    """Return what an actor of `image` prints for a message."""
    client = cluster.client(username)
    actor = client.call("POST", json={"image": image})["id"]
    client.wait_ready(actor)
    [execution] = cluster.post(client, actor, "hello")
    return cluster.log(client, actor, execution)


def refuse(cluster: Cluster, username: str, image: str, says: str) -> None:
    client = cluster.client(username)
    actor = client.call("POST", json={"image": image})["id"]
    with pytest.raises(SandboxError, match=says):
        client.wait_ready(actor)


def test_a_sif_is_run_by_its_path(cluster: Cluster, files: None) -> None:
    assert "hello" in run(cluster, "alice", f"{APPS}/plain.sif")


@pytest.mark.parametrize("image", [f"{APPS}/signed.sif", "registry:5000/lab/signed:1"])
def test_a_signed_sif_is_run(cluster: Cluster, files: None, image: str) -> None:
    assert "hello" in run(cluster, "carol", image)


@pytest.mark.parametrize(
    ("image", "says"),
    [
        (f"{APPS}/plain.sif", "Not a SIF signed by a key of the tenant's keyring"),
        (f"{APPS}/tampered.sif", "Not a SIF signed by a key of the tenant's keyring"),
        ("registry:5000/lab/plain:1", "Not a SIF signed by a key of the tenant's keyring"),
        ("registry:5000/echo:latest", "only signed SIF files are"),
    ],
)
def test_nothing_else_is_where_signatures_are_asked_for(
    cluster: Cluster, files: None, image: str, says: str
) -> None:
    refuse(cluster, "carol", image, says)


def test_a_key_of_the_host_does_not_count(cluster: Cluster, files: None) -> None:
    """Apptainer itself believes its global keyring as well."""
    shell(cluster, f"install -m 0644 {KEYS}/pgp-public /etc/apptainer/global-pgp-public")
    shell(cluster, f"mv {KEYS}/pgp-public {KEYS}/aside; : > {KEYS}/pgp-public; "
                   f"chown bridge {KEYS}/pgp-public; cp {APPS}/signed.sif {APPS}/again.sif; "
                   f"echo >> {APPS}/again.sif")  # fmt: skip
    try:
        refuse(cluster, "carol", f"{APPS}/again.sif", "Not a SIF signed")
    finally:
        shell(cluster, f": > /etc/apptainer/global-pgp-public; mv {KEYS}/aside {KEYS}/pgp-public")


def test_a_private_image_is_its_user_s_alone(cluster: Cluster, files: None) -> None:
    image = f"{PRIVATE}/echo:latest"
    refuse(cluster, "bob", image, "No such image")
    alice = cluster.client("alice")
    alice.call("PUT", f"/registries/{PRIVATE}", json={"username": "alice", "password": PASSWORD})
    assert "hello" in run(cluster, "alice", image)

    folder = "/scratch/alice/.bridge/sandbox/images"
    listed = shell(cluster, f"stat -c '%a %U' {folder} {folder}/*/*.sif").split("\n")
    assert listed[:2] == ["700 alice", "600 alice"]
    script = f"cat {folder}/*/*.sif || ls {folder}"
    denied = cluster.sandbox.run("login", ["sh", "-c", script], user="bob", check=False)
    assert denied.returncode != 0
    refuse(cluster, "bob", image, "No such image")

    places = "/var/log/bridge /var/lib/bridge /scratch /work /tmp /proc/[0-9]*/cmdline"
    secrets = shell(
        cluster,
        f"grep -rlF -f - {places} /proc/[0-9]*/environ 2> /dev/null || true",
        stdin=PASSWORD.encode(),
    )
    assert secrets == ""


def test_a_sif_that_was_swapped_is_not_run(cluster: Cluster, files: None) -> None:
    client = cluster.client("alice")
    actor = client.call("POST", json={"image": f"{APPS}/plain.sif"})["id"]
    client.wait_ready(actor)
    [execution] = cluster.post(client, actor, "hello")
    cluster.log(client, actor, execution)
    cluster.idle()
    # By somebody with root's rights on the file server: nobody else can.
    shell(
        cluster,
        f"for file in {CACHE}/PHYSICS/*.sif; do cp -p $file $file.kept; "
        "printf x | dd of=$file bs=1 seek=5000 conv=notrunc status=none; done",
    )
    try:
        [execution] = cluster.post(client, actor, "hello")
        end = cluster.end(client, actor, execution)
        assert end["status"] == "ERROR"
        assert "is not what the bridge put there: its SHA-256" in end["finalState"]["Error"]
    finally:
        shell(cluster, f"for file in {CACHE}/PHYSICS/*.kept; do mv $file ${{file%.kept}}; done")
