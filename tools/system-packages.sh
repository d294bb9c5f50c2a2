#!/bin/sh
# The Debian packages that tests need: a browser, a SLURM cluster of this machine alone, a chess engine, git.
# Needs root or sudo when something is missing; does nothing when all is there.
set -eu

missing=""
need() { # need PROGRAM PACKAGE: the program is looked for where Debian puts it, too
    PATH="$PATH:/usr/sbin:/usr/games" command -v "$1" >/dev/null 2>&1 || missing="$missing $2"
}
need git git
need make make
need chromium chromium
need slurmctld slurm-wlm
need slurmd slurm-wlm
need munged munge
need stockfish stockfish

if [ -z "$missing" ]; then
    exit 0
fi
echo "Installing the Debian packages:$missing"
if ! command -v apt-get >/dev/null 2>&1; then
    echo "This machine has no apt-get; install what corresponds to:$missing" >&2
    exit 1
fi
if [ "$(id -u)" -eq 0 ]; then
    as_root=""
elif command -v sudo >/dev/null 2>&1; then
    as_root="sudo"
else
    echo "Installing needs root; run as root: apt-get install$missing" >&2
    exit 1
fi
$as_root apt-get update -qq
# shellcheck disable=SC2086  # the names are separate words
DEBIAN_FRONTEND=noninteractive $as_root apt-get install -y -qq --no-install-recommends $missing
