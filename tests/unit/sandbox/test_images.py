"""Hashes of image inputs, and what goes into the login image."""

from pathlib import Path

import pytest

from bridge.errors import SandboxError
from bridge.sandbox import images
from bridge.sandbox.engine import Engine


def test_hash_follows_names_and_contents_of_a_directory(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("1")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "b").write_text("2")
    before = images.hash_inputs([tmp_path])
    (tmp_path / "x.pyc").write_text("no input")
    assert images.hash_inputs([tmp_path]) == before
    (tmp_path / "a").rename(tmp_path / "c")
    renamed = images.hash_inputs([tmp_path])
    assert renamed != before
    (tmp_path / "sub" / "b").write_text("3")
    assert images.hash_inputs([tmp_path]) not in (before, renamed)


def test_hash_keeps_parts_apart() -> None:
    assert images.hash_inputs(["ab", "c"]) != images.hash_inputs(["a", "bc"])


def test_requirements_are_those_of_the_package_without_extras() -> None:
    lines = images.read_requirements()
    assert any(line.lower().startswith("flask") for line in lines)
    assert not any("pytest" in line or "extra" in line for line in lines)


def test_an_unknown_sample_is_refused_with_those_there_are() -> None:
    with pytest.raises(SandboxError, match="digits-classifier, echo"):
        images.find_sample("nothing")


def test_every_file_that_an_image_is_made_of_is_there() -> None:
    for name in ("Containerfile.base", "Containerfile.node", "Containerfile.login", "node"):
        assert (images.ROOTFS / name).exists()


def test_images_in_use_are_kept_and_stages_without_name_go_too(tmp_path: Path) -> None:
    engine = tmp_path / "podman"
    engine.write_text(
        "#!/bin/sh\n"
        'case "$1 $2" in\n'
        "  images*) echo ours/node:1 aaa; echo '<none>:<none> bbb' ;;\n"
        "  'rmi ours/node:1') exit 2 ;;\n"
        f'  rmi*) echo "$2" >> {tmp_path}/removed ;;\n'
        "esac\n"
    )
    engine.chmod(0o755)
    assert images.remove_images(Engine(str(engine))) == 2
    assert (tmp_path / "removed").read_text().split() == ["bbb", images.tag_of("rootfs", "trixie")]
