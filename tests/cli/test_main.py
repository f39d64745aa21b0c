"""The manners of the command line: lazy subcommands, one line per error, exit codes. And `edgert pull`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import click
import pytest

from edgert.cli import main as cli
from edgert.errors import EdgertError, InputError


def raising(error: BaseException) -> click.Command:
    @click.command()
    def command() -> None:
        raise error

    return command


@pytest.fixture
def boom(monkeypatch: pytest.MonkeyPatch):
    """`boom(error)` makes every subcommand raise it."""

    def install(error: BaseException) -> None:
        monkeypatch.setattr(cli.Subcommands, "get_command", lambda *_: raising(error))

    return install


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (EdgertError("all wrong"), 1, "error: all wrong\n"),
        (InputError("no such input"), 2, "error: no such input\n"),
        (KeyboardInterrupt(), 130, "interrupted\n"),
        (click.UsageError("which?"), 2, "which?"),
        (FileNotFoundError(2, "No such file or directory", "x.edge"), 1, "x.edge"),
    ],
)
def test_errors_are_one_line(boom, capsys, error: BaseException, code: int, line: str) -> None:
    boom(error)
    assert cli.main(["run"]) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert line in captured.err
    assert "Traceback" not in captured.err


def test_a_bug_keeps_its_traceback(boom) -> None:
    boom(ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        cli.main(["run"])


def test_help_lists_every_command_and_imports_none(capsys) -> None:
    assert cli.main(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(name in text for name in cli.COMMANDS)


def test_version(capsys) -> None:
    from edgert import __version__

    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"edgert {__version__}\n"


def test_unknown_command(capsys) -> None:
    assert cli.main(["fly"]) == 2
    assert "fly" in capsys.readouterr().err


def test_no_command_shows_help(capsys) -> None:
    assert cli.main([]) == 2
    assert "Commands" in capsys.readouterr().err


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_has_help_with_an_example(name: str, capsys) -> None:
    assert cli.main([name, "--help"]) == 0
    assert f"edgert {name}" in capsys.readouterr().out


def test_broken_pipe() -> None:
    """As in `edgert pull --list | head -0`."""
    code = (
        "import os, sys\n"
        "from edgert.cli.main import main\n"
        "read, write = os.pipe(); os.close(read); os.dup2(write, 1)\n"
        "sys.exit(main(['pull', '--list']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stderr == ""
    assert done.returncode == 1


class TestPull:
    def test_list(self, capsys) -> None:
        assert cli.main(["pull", "--list", "--json"]) == 0
        table = json.loads(capsys.readouterr().out)["assets"]
        assert {"efficientnet-lite0", "photos", "fashion-mnist"} <= {row["name"] for row in table}

    def test_unknown(self, capsys) -> None:
        assert cli.main(["pull", "nothing"]) == 1
        captured = capsys.readouterr()
        assert captured.out == ""
        assert captured.err.startswith("error: expected one of")
        assert captured.err.count("\n") == 1

    def test_no_name(self, capsys) -> None:
        assert cli.main(["pull"]) == 2
        assert "--list" in capsys.readouterr().err

    def test_json(self, capsys, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        import edgert.cli.pull as command

        monkeypatch.setattr(command, "pull", lambda name, progress: tmp_path / name)
        assert cli.main(["pull", "photos", "--json"]) == 0
        assert json.loads(capsys.readouterr().out) == {"name": "photos", "path": str(tmp_path / "photos")}

    def test_several_are_copied(self, capsys, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        import edgert.cli.pull as command

        cache, here = tmp_path / "cache", tmp_path / "here"
        (cache / "sounds").mkdir(parents=True)
        here.mkdir()
        for name in ("sounds/a.wav", "sounds/b.wav", "model.onnx"):
            (cache / name).write_text(name)
        monkeypatch.setattr(command, "pull", lambda name, progress: cache / name)
        for _ in range(2):  # the same files again are no harm
            assert cli.main(["pull", "sounds", "model.onnx", "-o", str(here)]) == 0
            assert capsys.readouterr().out.splitlines() == [str(here), str(here / "model.onnx")]
        assert (here / "b.wav").read_text() == "sounds/b.wav"
        assert cli.main(["pull", "sounds", "model.onnx", "--json"]) == 0
        assert [row["name"] for row in json.loads(capsys.readouterr().out)["assets"]] == ["sounds", "model.onnx"]
        (here / "b.wav").write_text("mine")
        assert cli.main(["pull", "sounds", "-o", str(here)]) == 2
        assert "move it away" in capsys.readouterr().err and (here / "b.wav").read_text() == "mine"
        assert cli.main(["pull", "sounds", "-o", str(tmp_path / "none")]) == 2
