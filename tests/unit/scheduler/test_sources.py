"""Whose an image is, where it lies, and what the tenant's policy says of it."""

from __future__ import annotations

import base64
import hashlib
import stat
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bridge.auth import load_secret_box
from bridge.core.statuses import ActorStatus, ExecutionStatus, ImageStatus
from bridge.db import Actor, Image, RegistryLogin
from bridge.node.dialogue import LABEL
from bridge.scheduler.context import ClusterContext
from bridge.sites import Site
from tests.factories.rows import START, add_account, add_actor, add_image
from tests.factories.sifs import OVERLAY, PRIMARY, make_sif
from tests.factories.sites import make_site
from tests.unit.containers.conftest import Puller, Registry, puller, registry
from tests.unit.scheduler.world import World, image_tick

__all__ = ["puller", "registry"]

BASIC = "Basic " + base64.b64encode(b"al:hush").decode()
VERIFIER = """\
#!/bin/sh
echo "$APPTAINER_KEYSDIR" >> "__FOLDER__/verified"
cat "__FOLDER__/says"
"""
BELIEVED = '{"SignerKeys": [{"Signer": {"KeyLocal": true, "KeyCheck": true, "DataCheck": true}}]}'
OF_THE_HOST = BELIEVED.replace('"KeyLocal": true', '"KeyLocal": false')


@pytest.fixture
def site(tmp_path: Path, registry: Registry) -> Site:
    """A site with a directory of SIF files."""
    cluster = {
        "session": "local",
        "spool": f"{tmp_path}/spool/{{username}}",
        "image_cache": f"{tmp_path}/images",
        "insecure_registries": [registry.host],
    }
    return make_site(tmp_path, clusters={"alpha": cluster}, registry_networks=["127.0.0.0/8"])


class Sources:
    """A world whose tenant's policy the test chooses."""

    def __init__(self, world: World, registry: Registry, folder: Path) -> None:
        self.world = world
        self.registry = registry
        self.folder = folder
        self.changed: dict[str, Any] = {}
        with world.database.begin() as session:
            add_account(session)

    @property
    def context(self) -> ClusterContext:
        site = self.world.context.site
        tenant = site.tenants["PHYSICS"]
        policy = type(tenant.images).model_validate(self.changed)
        tenants = {**site.tenants, "PHYSICS": tenant.model_copy(update={"images": policy})}
        changed = site.model_copy(update={"tenants": tenants})
        return replace(self.world.context, site=changed, box=load_secret_box(site))

    def bring(self, reference: str = "", owner: str = "") -> Image:
        """Ask for an image and have it brought; return what became of it."""
        reference = reference or f"{self.registry.host}/lab/tool:1"
        with self.world.database.begin() as session:
            image = add_image(session, reference=reference, owner=owner)
            add_actor(session, image_id=image.id, status=ActorStatus.SUBMITTED)
        image_tick(self.context)
        return self.image(image.id)

    def image(self, image_id: int) -> Image:
        with self.world.database.read() as session:
            return session.get_one(Image, image_id)

    def leave_login(self, password: str = "hush", username: str = "alice") -> None:
        box = load_secret_box(self.world.context.site)
        assert box is not None
        with self.world.database.begin() as session:
            session.add(
                RegistryLogin(
                    tenant="PHYSICS",
                    username=username,
                    host=self.registry.host,
                    login="al",
                    password=box.encrypt(password),
                    create_time=START,
                    last_update_time=START,
                )
            )

    def ask_for_login(self) -> None:
        """Have the registry show nothing without alice's login."""
        for path, body in list(self.registry.answers.items()):
            assert isinstance(body, bytes)

            def give(handler: Any, body: bytes = body) -> None:
                if handler.headers.get("Authorization") == BASIC:
                    handler.send_response(200)
                else:
                    handler.send_response(401)
                    handler.send_header("WWW-Authenticate", 'Basic realm="x"')
                    body = b""
                handler.send_header("Content-Length", str(len(body)))
                handler.end_headers()
                handler.wfile.write(body)

            self.registry.answers[path] = give


@pytest.fixture
def sources(world: World, registry: Registry, puller: Puller, tmp_path: Path) -> Sources:
    return Sources(world, registry, tmp_path)


class TestLogins:
    def test_what_a_user_s_login_brings_is_that_user_s_alone(
        self, sources: Sources, registry: Registry, tmp_path: Path
    ) -> None:
        registry.add()
        sources.ask_for_login()
        sources.leave_login()
        image = sources.bring(owner="alice")
        assert image.status is ImageStatus.READY, image.status_message
        path = Path(str(image.sif_path))
        assert path.parent.parent == tmp_path / "spool" / "alice" / "images"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        assert image.sif_sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
        assert not list((tmp_path / "images").rglob("*.sif"))

        other = sources.bring()
        assert other.status is ImageStatus.ERROR
        assert "without a login" in other.status_message

    def test_another_digest_takes_the_place_of_the_former(
        self, sources: Sources, registry: Registry
    ) -> None:
        sources.leave_login()
        registry.add()
        first = sources.bring(owner="alice")
        with sources.world.database.begin() as session:
            session.get_one(Image, first.id).status = ImageStatus.REQUESTED
        registry.add(Cmd=["/other"])
        image_tick(sources.context)
        registry.add("lab/third", Cmd=["/third"])
        sources.bring(f"{registry.host}/lab/third:1", owner="alice")
        second = sources.image(first.id)
        assert second.sif_path != first.sif_path
        assert Path(str(second.sif_path)).exists()
        assert not Path(str(first.sif_path)).exists()

    def test_a_login_that_was_removed(self, sources: Sources, registry: Registry) -> None:
        registry.add()
        image = sources.bring(owner="alice")
        assert image.status is ImageStatus.ERROR
        assert "no longer there" in image.status_message

    def test_a_tenant_that_no_longer_wants_them(self, sources: Sources, registry: Registry) -> None:
        registry.add()
        sources.leave_login()
        sources.changed = {"user_logins": False}
        assert "no longer there" in sources.bring(owner="alice").status_message

    def test_the_tenant_s_login_is_for_all(self, sources: Sources, registry: Registry) -> None:
        registry.add()
        sources.ask_for_login()
        password = sources.folder / "password"
        password.write_text("hush\n")
        password.chmod(0o600)
        login = {"username": "al", "password_file": str(password)}
        sources.changed = {"logins": {registry.host: login}}
        image = sources.bring()
        assert image.status is ImageStatus.READY, image.status_message
        assert image.owner == ""

    def test_no_login_is_told_to_whoever_converts(
        self, sources: Sources, registry: Registry, puller: Puller
    ) -> None:
        registry.add()
        sources.ask_for_login()
        sources.leave_login()
        sources.bring(owner="alice")
        assert not [value for value in puller.environment.values() if "hush" in value]


class TestLocal:
    @pytest.fixture
    def directory(self, sources: Sources, tmp_path: Path) -> Path:
        directory = tmp_path / "sif"
        directory.mkdir()
        sources.changed = {"sif_directories": [str(directory)]}
        return directory

    def test_a_copy_is_run(self, sources: Sources, directory: Path) -> None:
        source = directory / "x.sif"
        source.write_bytes(make_sif(config={"WorkingDir": "/data"}))
        image = sources.bring(str(source))
        assert image.status is ImageStatus.READY, image.status_message
        source.write_bytes(b"swapped")
        kept = Path(str(image.sif_path)).read_bytes()
        assert kept == make_sif(config={"WorkingDir": "/data"})
        assert image.digest == f"sha256:{hashlib.sha256(kept).hexdigest()}"
        assert image.config is not None
        assert image.config["WorkingDir"] == "/data"

    def test_what_an_earlier_release_read_is_read_again(
        self, sources: Sources, directory: Path
    ) -> None:
        labels = {"data": {"attributes": {"labels": {LABEL: "process"}}}}
        for name in ("x.sif", "y.sif"):
            (directory / name).write_bytes(make_sif(metadata=labels))
        first = sources.bring(str(directory / "x.sif"))
        with sources.world.database.begin() as session:
            row = session.get_one(Image, first.id)
            row.config = {key: row.config[key] for key in row.config if key != "Labels"}
        second = sources.bring(str(directory / "y.sif"))
        assert second.config["Labels"] == {LABEL: "process"}
        assert second.sif_path == first.sif_path

    def test_the_same_file_is_kept_once(self, sources: Sources, directory: Path) -> None:
        for name in ("x.sif", "y.sif"):
            (directory / name).write_bytes(make_sif())
        first, second = (sources.bring(str(directory / n)) for n in ("x.sif", "y.sif"))
        assert first.sif_path == second.sif_path is not None

    @pytest.mark.parametrize("content", [b"", b"#!/bin/sh\n", make_sif()[:100]])
    def test_what_is_no_sif(self, sources: Sources, directory: Path, content: bytes) -> None:
        (directory / "x.sif").write_bytes(content)
        assert "Not a SIF" in sources.bring(str(directory / "x.sif")).status_message

    @pytest.mark.parametrize("policy", [{"digests": ["sha256:" + "0" * 64]}, {"max_bytes": 10}])
    def test_the_policy_is_about_them_too(
        self, sources: Sources, directory: Path, policy: dict[str, Any]
    ) -> None:
        sources.changed |= policy
        (directory / "x.sif").write_bytes(make_sif())
        image = sources.bring(str(directory / "x.sif"))
        assert image.status is ImageStatus.ERROR
        assert image.next_attempt_at is None


class TestSigned:
    @pytest.fixture
    def says(self, sources: Sources, puller: Puller, tmp_path: Path) -> Path:
        """What the program that verifies says."""
        program = puller.folder / "apptainer"
        program.write_text(VERIFIER.replace("__FOLDER__", str(tmp_path)))
        keyring = tmp_path / "keyring"
        keyring.mkdir()
        (keyring / "pgp-public").write_bytes(b"keys")
        (tmp_path / "sif").mkdir()
        (tmp_path / "sif" / "x.sif").write_bytes(make_sif())
        sources.changed = {
            "sif_directories": [str(tmp_path / "sif")],
            "signed_only": True,
            "keyring": str(keyring),
        }
        says = tmp_path / "says"
        says.write_text(BELIEVED)
        return says

    def test_one_that_is_believed_is_run(
        self, sources: Sources, says: Path, tmp_path: Path
    ) -> None:
        image = sources.bring(f"{tmp_path}/sif/x.sif")
        assert image.status is ImageStatus.READY, image.status_message
        assert image.is_signed
        [keys] = (tmp_path / "verified").read_text().split()
        assert keys != str(tmp_path / "keyring")  # a copy: the program adds files and modes

    @pytest.mark.parametrize(
        "answer",
        [
            OF_THE_HOST,
            BELIEVED.replace('"DataCheck": true', '"DataCheck": false'),
            '{"SignerKeys": []}',
            "{}",
            "",
            "INFO: verified",
            '{"SignerKeys": [7]}',
            "[" * 10_000,
        ],
    )
    def test_one_that_is_not_is_refused(
        self, sources: Sources, says: Path, tmp_path: Path, answer: str
    ) -> None:
        says.write_text(answer)
        image = sources.bring(f"{tmp_path}/sif/x.sif")
        assert "Not a SIF signed" in image.status_message
        assert image.next_attempt_at is None
        assert not list((tmp_path / "images").rglob("*.sif"))

    def test_a_file_system_beside_the_signed_one(
        self, sources: Sources, says: Path, tmp_path: Path
    ) -> None:
        (tmp_path / "sif" / "x.sif").write_bytes(make_sif(PRIMARY, OVERLAY))
        image = sources.bring(f"{tmp_path}/sif/x.sif")
        assert "2 file systems" in image.status_message

    def test_an_image_that_cannot_be_signed_is_not_downloaded(
        self, sources: Sources, says: Path, registry: Registry
    ) -> None:
        registry.add()
        assert "only signed SIF files are" in sources.bring().status_message
        assert not [path for path in registry.asked if path.count("/blobs/") > 1]

    def test_what_was_not_looked_at_is_looked_at_again(
        self, sources: Sources, says: Path, tmp_path: Path
    ) -> None:
        strict = sources.changed
        sources.changed = {"sif_directories": strict["sif_directories"]}
        first = sources.bring(f"{tmp_path}/sif/x.sif")
        assert (first.status, first.is_signed) == (ImageStatus.READY, False)
        sources.changed = strict
        with sources.world.database.begin() as session:
            session.get_one(Image, first.id).status = ImageStatus.REQUESTED
        image_tick(sources.context)
        assert sources.image(first.id).is_signed


@pytest.mark.parametrize(
    ("policy", "says"),
    [
        ({"registries": ["docker.io/lab"]}, "images may come from docker.io/lab"),
        ({"digests": ["sha256:" + "0" * 64]}, "none of the 1 that are"),
        ({"max_bytes": 1}, "1 are allowed"),
        ({"signed_only": True, "keyring": "/keys"}, "was not signed"),
    ],
)
def test_what_is_no_longer_allowed_is_not_run(
    sources: Sources, registry: Registry, policy: dict[str, Any], says: str
) -> None:
    registry.add()
    image = sources.bring()
    assert image.status is ImageStatus.READY
    with sources.world.database.read() as session:
        [actor] = session.query(Actor).all()
    sources.changed = policy
    ids = sources.world.post(actor)
    sources.world.tick(2, sources.context)
    [status] = sources.world.statuses(ids)
    assert status is ExecutionStatus.ERROR
    assert says in sources.world.execution(ids[0]).reason
    assert sources.world.arrays() == []
