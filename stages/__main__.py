"""`python -m stages`: the `deveno` command, and the short way in that DVC takes."""

from __future__ import annotations

import os
import sys


def main() -> int:
    """Dispatch; what DVC calls per entry imports nothing of the command line."""
    arguments = sys.argv[1:]
    if len(arguments) == 3 and arguments[0] == "execute":
        from stages.core.run import execute

        code = execute(arguments[1], arguments[2])
        # Everything is published and closed; taking torch apart would cost a second per entry.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    if len(arguments) == 2 and arguments[0] == "publish":
        from pathlib import Path

        from stages.core.tracking import publish_forever

        return publish_forever(Path(arguments[1]))
    from stages.cli.command import main as command

    return command(arguments)


if __name__ == "__main__":
    raise SystemExit(main())
