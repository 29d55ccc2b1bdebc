"""`python -m stages`: the `deveno` command, and the short way in that DVC takes."""

from __future__ import annotations

import sys


def main() -> int:
    """Dispatch; what DVC calls per entry imports nothing of the command line."""
    arguments = sys.argv[1:]
    if len(arguments) == 3 and arguments[0] == "execute":
        from stages.core.run import execute

        return execute(arguments[1], arguments[2])
    if len(arguments) == 2 and arguments[0] == "publish":
        from pathlib import Path

        from stages.core.tracking import publish_forever

        return publish_forever(Path(arguments[1]))
    from stages.cli.command import main as command

    return command(arguments)


if __name__ == "__main__":
    raise SystemExit(main())
