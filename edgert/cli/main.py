"""The `edgert` command: a table of subcommands, each loaded from its own file when it is called.

What a subcommand does lives in edgert/cli/<name>.py, as a click command named `command`.
"""

from __future__ import annotations

import errno
import os
import sys
from importlib import import_module

import click

from edgert import __version__
from edgert.errors import EdgertError

# Subcommand -> the line that `edgert --help` shows, so that help imports none of them.
COMMANDS: dict[str, str] = {
    "convert": "Translate and compress a network into one .edge file.",
    "check": "List everything in a network that edgert can not run, and what to do.",
    "verify": "Compare a .edge file with the model it was made of.",
    "inspect": "Show what a .edge file holds, or the plan for this machine.",
    "run": "Answer for one or more inputs.",
    "generate": "Continue a text with a language model.",
    "chat": "Talk with a language model in the terminal.",
    "embed": "Embed texts, and compare them.",
    "eval": "Measure accuracy on labelled data.",
    "perplexity": "Measure how well a language model predicts a text.",
    "bench": "Measure latency, or tokens per second, per run and per operator.",
    "doctor": "Show what this machine offers and what edgert makes of it.",
    "compile": "Compile the kernels ahead of time for a kind of processor.",
    "pull": "Fetch a pinned model or data set into the cache.",
    "quickstart": "Run the model that ships with edgert.",
}

INTERRUPTED = 130  # 128 + SIGINT, as shells report it


class Subcommands(click.Group):
    """A click group that imports a subcommand only when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command = import_module(f"edgert.cli.{cmd_name}").command
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.command(cls=Subcommands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, "-V", "--version", message="edgert %(version)s")
def root() -> None:
    """Neural networks on small devices: convert once, then one native call per answer.

    \b
    edgert quickstart
    edgert convert model.onnx -o model.edge --weights int8 --calib photos/
    edgert run model.edge photo.jpg
    edgert chat language.edge
    """


def main(argv: list[str] | None = None) -> int:
    """Run the command line and return its exit code: 0, 1 (failed), 2 (wrong use) or 130 (interrupted).

    A typed error becomes one line on stderr; any other exception is a bug and keeps its traceback.
    """
    try:
        result = root.main(args=argv, prog_name="edgert", standalone_mode=False)
        sys.stdout.flush()
        return result if isinstance(result, int) else 0
    except EdgertError as error:
        click.echo(f"error: {error}", err=True)
        return error.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return error.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        return INTERRUPTED
    except BrokenPipeError:
        # The reader (a pager, `head`) has gone. Python would complain once more at exit, so give it
        # somewhere to write.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        # A file that is missing or not allowed, a full disk: the user's to mend. Others are bugs.
        if error.filename is None and error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        place = "" if error.filename is None else f"{error.filename}: "
        click.echo(f"error: {place}{error.strerror}", err=True)
        return 1


if __name__ == "__main__":
    sys.exit(main())
