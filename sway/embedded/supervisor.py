"""A supervisor: runs a command and stops it when the process that started the supervisor, its owner, exits.

It runs as a script, by path and with `python -I -S`, so that it imports only the standard library and starts in a few
milliseconds:

    supervisor.py OWNER_PID GRACE_S [--remove FOLDER] -- COMMAND ...

It prints the process id of the command on one line, then waits for the first of these events:

- The command exits. The supervisor exits with the same status, 128 + N after signal N.
- A byte on standard input, SIGTERM or SIGINT. The command gets SIGTERM and, after GRACE_S seconds, SIGKILL.
- The end of standard input, or a change of the parent process: the owner has exited. Both are watched, because a forked
  child of the owner may keep the pipe open. The command is stopped in the same way. With FOLDER, its data is no longer
  needed, so the command gets SIGKILL at once and FOLDER is removed.

If the supervisor itself is killed, Linux kills the command (PR_SET_PDEATHSIG).
"""

import ctypes
import os
import select
import shutil
import signal
import subprocess
import sys

# Only relevant if a forked child of a dead owner keeps the pipe open.
OWNER_CHECK_S = 1.0
PR_SET_PDEATHSIG = 1


def main(argv: list[str]) -> int:
    """Run the command until it exits or must stop, and return its exit status."""
    split = argv.index("--")
    owner, grace_s, folder = int(argv[0]), float(argv[1]), _folder_to_remove(argv[2:split])
    woken = _wake_on(signal.SIGTERM, signal.SIGINT, signal.SIGCHLD)
    # The owner decides what to do when its terminal closes.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    # Standard output is for the owner and carries one line, so the command writes to standard error.
    command = subprocess.Popen(  # noqa: S603 - the owner's command
        argv[split + 1 :], stdin=subprocess.DEVNULL, stdout=sys.stderr, preexec_fn=_die_with_supervisor
    )
    sys.stdout.write(f"{command.pid}\n")
    sys.stdout.flush()
    owner_is_gone = _wait(command, owner, woken)
    if owner_is_gone and folder is not None:
        command.kill()
    _stop(command, grace_s)
    if owner_is_gone and folder is not None:
        shutil.rmtree(folder, ignore_errors=True)
    return command.returncode if command.returncode >= 0 else 128 - command.returncode


def _folder_to_remove(options: list[str]) -> str | None:
    return options[1] if options[:1] == ["--remove"] else None


def _wake_on(*signals: int) -> int:
    """Return a file descriptor that becomes readable on these signals, with one byte per signal: its number."""
    readable, writable = os.pipe()
    os.set_blocking(writable, False)
    signal.set_wakeup_fd(writable)
    for number in signals:
        signal.signal(number, lambda _number, _frame: None)
    return readable


def _die_with_supervisor() -> None:
    """On Linux, request SIGKILL when the supervisor dies; runs between fork and exec."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _wait(command: "subprocess.Popen[bytes]", owner: int, woken: int) -> bool:
    """Wait until the command exits or must stop; return whether the owner has exited."""
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
