"""`deveno push` and `deveno pull`: results with the run cache, to and from a DVC remote."""

from __future__ import annotations

import argparse
import re
import sys

from stages.cli.inspection import Add
from stages.core import fingerprint, inbox, outbox, remotes, workspace
from stages.core.errors import ArtifactError

FINGERPRINT = re.compile(f"[0-9a-f]{{{fingerprint.LENGTH}}}")


def add_verbs(add: Add) -> None:
    """Register the verbs."""
    push = add("push", push_results, "send results and the run cache to a DVC remote, hashed again")
    push.add_argument("targets", nargs="*", metavar="TARGET", help="stage@key, a stage or a key")
    push.add_argument("--remote", metavar="NAME", help="another than DVC's default remote")
    push.add_argument("--force", action="store_true", help="send again what is there already")
    pull = add("pull", pull_results, "bring results from a DVC remote, verified, computing nothing")
    pull.add_argument(
        "targets", nargs="*", metavar="TARGET", help="stage@key, a stage, a key or a fingerprint"
    )
    pull.add_argument("--remote", metavar="NAME", help="another than DVC's default remote")
    pull.add_argument(
        "--run-cache", action="store_true", help="earlier results and other recipes' too"
    )


def push_results(options: argparse.Namespace) -> int:
    """Send the targets' results, or everything."""
    root = workspace.root()
    remote = remotes.named(root, options.remote)
    sent = outbox.push(root, remote, options.targets, options.force)
    print(
        f"sent {sent.objects} objects ({sent.size_bytes / 1e6:.1f} MB) and {sent.records} records "
        f"to {remote.name}; it has {sent.results} results of this workspace"
    )
    for name in sent.incomplete:
        print(f"not sent, for its bytes are not all here: {name}")
    outbox.check(sent, remote)
    return 0


def pull_results(options: argparse.Namespace) -> int:
    """Bring the targets' results into cache and workspace."""
    root = workspace.root()
    remote = remotes.named(root, options.remote)
    prints = [target for target in options.targets if FINGERPRINT.fullmatch(target)]
    for wanted in prints:
        one = inbox.pull_fingerprint(remote, wanted)
        print(f"{wanted} is in the cache: {', '.join(one.outs)}")
    targets = [target for target in options.targets if target not in prints]
    if prints and not targets:
        return 0
    received = inbox.pull(root, remote, targets, options.run_cache)
    print(
        f"received {received.objects} objects from {remote.name}; "
        f"{len(received.placed)} entries put in place, {len(received.fresh)} were fresh"
    )
    if received.results:
        print(f"{received.results} results are in the run cache")
    if received.absent:
        print(f"not in the remote, `deveno run` computes them: {', '.join(received.absent)}")
    for error in received.refused.values():
        sys.stderr.write(f"{error}\n")
    if received.refused:
        return ArtifactError.exit_code
    if targets and not received.placed and not received.fresh:
        raise ArtifactError(
            f"the remote {remote.name!r} has nothing of {' '.join(targets)} as it is now",
            "params.yaml, the code and its inputs decide what is asked for",
            f"`deveno run {' '.join(targets)}`, then `deveno push`",
        )
    return 0
