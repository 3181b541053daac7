"""Runs a command that ends when the process that asked for it, its owner, ends, however that ends.

Run as a script, by path and with `python -I -S`, so that it imports the standard library alone and is
up in a few milliseconds:

    leash.py OWNER_PID GRACE_S [--remove FOLDER] -- COMMAND ...

It prints the command's process id on a line, then waits for the first of these:

- the command ends: the leash ends with its exit status, 128 + N after signal N;
- a byte on standard input, SIGTERM or SIGINT: the command gets SIGTERM and, after GRACE_S seconds, SIGKILL;
- the end of standard input, or another parent process: the owner is gone (both are watched, since a
  forked child of the owner may hold the pipe open after the owner's death). The command is stopped in the
  same way; if there is a FOLDER, its work is worth nothing, so it gets SIGKILL at once and FOLDER goes too.

If the leash itself is killed, Linux kills the command with it (PR_SET_PDEATHSIG).
"""

import ctypes
import os
import select
import shutil
import signal
import subprocess
import sys

OWNER_CHECK_S = 1.0  # only matters when a forked child of a dead owner holds the pipe open
PR_SET_PDEATHSIG = 1


def main(argv: list[str]) -> int:
    """Run the command on its leash and return the exit status."""
    split = argv.index("--")
    owner, grace_s, folder = int(argv[0]), float(argv[1]), _folder_to_remove(argv[2:split])
    woken = _wake_on(signal.SIGTERM, signal.SIGINT, signal.SIGCHLD)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # a closed terminal is the owner's matter
    # Standard output goes back to the owner and carries one line; the command writes to standard error.
    command = subprocess.Popen(  # noqa: S603 - the owner's command
        argv[split + 1 :], stdin=subprocess.DEVNULL, stdout=sys.stderr, preexec_fn=_die_with_the_leash
    )
    sys.stdout.write(f"{command.pid}\n")
    sys.stdout.flush()
    owner_is_gone = _wait_for_a_reason_to_stop(command, owner, woken)
    if owner_is_gone and folder is not None:
        command.kill()
    _stop(command, grace_s)
    if owner_is_gone and folder is not None:
        shutil.rmtree(folder, ignore_errors=True)
    return command.returncode if command.returncode >= 0 else 128 - command.returncode


def _folder_to_remove(options: list[str]) -> str | None:
    return options[1] if options[:1] == ["--remove"] else None


def _wake_on(*signals: int) -> int:
    """Make the signals readable, a byte each holding its number, from the descriptor returned."""
    readable, writable = os.pipe()
    os.set_blocking(writable, False)
    signal.set_wakeup_fd(writable)
    for number in signals:
        signal.signal(number, lambda _number, _frame: None)
    return readable


def _die_with_the_leash() -> None:
    """Between fork and exec: on Linux, ask for SIGKILL when the leash dies."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _wait_for_a_reason_to_stop(command: "subprocess.Popen[bytes]", owner: int, woken: int) -> bool:
    """Return whether the reason is that the owner is gone."""
    stdin = sys.stdin.fileno()
    while command.poll() is None:
        if os.getppid() != owner:
            return True
        readable, _, _ = select.select([stdin, woken], [], [], OWNER_CHECK_S)
        if stdin in readable:
            return not os.read(stdin, 1)
        if woken in readable and set(os.read(woken, 4096)) & {signal.SIGTERM, signal.SIGINT}:
            return False
    return False


def _stop(command: "subprocess.Popen[bytes]", grace_s: float) -> None:
    if command.poll() is None:
        command.terminate()
    try:
        command.wait(timeout=grace_s)
    except subprocess.TimeoutExpired:
        command.kill()
        command.wait()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
