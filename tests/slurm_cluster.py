"""A real Slurm of two nodes on this machine, on loopback, in a folder of its own; where there is none, a reason.

Munge, the controller and both nodes are children of this process, so exactly they are ended in the end. Nothing of a
Slurm or munge that the machine may have is used or touched.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import socket
import stat
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

DAEMON_PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
NODES = ("n1", "n2")
GPUS = 2  # of each node, character devices that nothing computes on

# RequeueExit is what a site may set or not; sched_interval and cred_expire (no less than 5 s) shorten the wait before
# a requeued job starts again, from minutes to 6 s
CONFIGURATION = """\
ClusterName=loop
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
SlurmctldPort={port}
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket,cred_expire=5
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/log/slurmctld.log
SlurmdLogFile={folder}/log/slurmd-%n.log
ProctrackType=proctrack/linuxproc
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=sched_interval=1,bf_interval=1,sched_min_interval=100000,batch_sched_delay=0
SlurmdParameters=config_overrides
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
ReturnToService=2
KillWait=30
InactiveLimit=0
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
PartitionName=debug Nodes=ALL Default=YES MaxTime=INFINITE State=UP PriorityTier=1 PreemptMode=REQUEUE GraceTime=30
PartitionName=high Nodes=ALL MaxTime=INFINITE State=UP PriorityTier=10 PreemptMode=OFF
"""


def why_not() -> str | None:
    """Why there can be no cluster on this machine, or None."""
    if missing := [name for name in ("slurmctld", "slurmd", "sbatch", "munged") if _program(name) is None]:
        return f"no {', '.join(missing)} on this machine: scripts/install_slurm.sh"
    if os.geteuid() != 0:
        return "only root can start a Slurm whose nodes run jobs"
    return None


@dataclass(frozen=True)
class Cluster:
    """Two idle nodes, and the commands of a user."""

    folder: Path
    environment: Mapping[str, str]

    def run(self, *command: object, timeout: float = 60, **environment: str) -> subprocess.CompletedProcess[str]:
        """A command of Slurm to its end, in `folder`; no client may wait without a bound."""
        return subprocess.run(
            list(map(str, command)),
            cwd=self.folder,
            env={**self.environment, **environment},
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def ask(self, *command: object, **environment: str) -> str:
        """What a command that must succeed prints."""
        finished = self.run(*command, timeout=60, **environment)
        assert finished.returncode == 0, (command, finished.stdout, finished.stderr)
        return finished.stdout.strip()

    def submit(self, *arguments: object, **environment: str) -> int:
        """``sbatch``; returns the number of the job."""
        return int(self.ask("sbatch", "--parsable", *arguments, **environment))

    def jobs(self, number: int) -> list[dict[str, str]]:
        """What Slurm knows about a job, or about each task of an array."""
        lines = self.ask("scontrol", "--oneliner", "show", "job", number).splitlines()
        return [dict(re.findall(r"(\S+?)=(\S*)", line)) for line in lines]

    def states(self, number: int) -> set[str]:
        """The states of a job, or of the tasks of an array."""
        return {job["JobState"] for job in self.jobs(number)}

    def wait(self, number: int, timeout: float = 120) -> set[str]:
        """Wait until a job is over and nothing of it waits to be run again; returns `states`."""
        over = {"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY", "BOOT_FAIL", "DEADLINE"}
        wait_until(lambda: self.states(number) <= over, timeout, lambda: f"{self.jobs(number)}\n{self.logs()}")
        return self.states(number)

    def logs(self) -> str:
        """The last lines of the daemons, for whoever reads a failure."""
        files = sorted(self.folder.glob("log/*.log"))
        return "\n".join(f"== {path.name}\n" + "\n".join(_text(path).splitlines()[-15:]) for path in files)


@contextlib.contextmanager
def running_cluster(folder: Path, *options: str, gpus: bool = True) -> Iterator[Cluster]:
    """A cluster whose two nodes are idle.

    Args:
        folder: Empty; with a short path, for the sockets in it.
        options: Further lines of slurm.conf, such as ``RequeueExit=75``.
        gpus: Whether the nodes shall have GPUs, which are none.
    """
    for name in ("state", "spool", "log", "dev", "munge"):
        (folder / name).mkdir()
    configuration = _configure(folder, options, gpus=gpus and _fake_gpus(folder / "dev"))
    environment = {**os.environ, "SLURM_CONF": str(configuration), "PATH": DAEMON_PATH}
    for name in [
        name for name in environment if name.startswith(("SLURM_", "SBATCH_", "SRUN_")) and name != "SLURM_CONF"
    ]:
        del environment[name]  # of a job that the tests may run in themselves
    cluster = Cluster(folder, environment)
    with contextlib.ExitStack() as daemons:
        _start_munge(daemons, cluster)
        _start(daemons, cluster, "slurmctld", "-D", "-f", configuration)
        for node in NODES:
            _start(daemons, cluster, "slurmd", "-D", "-f", configuration, "-N", node)
        wait_until(
            lambda: (
                cluster.run("sinfo", "-h", "-N", "-p", "debug", "-t", "idle", "-o", "%N").stdout.split() == [*NODES]
            ),
            30,
            cluster.logs,
        )
        daemons.callback(_cancel_all, cluster)
        yield cluster


def wait_until(
    condition: Callable[[], object], timeout: float, otherwise: Callable[[], str] = str, interval: float = 0.1
) -> None:
    """Wait for what must be within ``timeout`` seconds; else an AssertionError with what ``otherwise`` says."""
    end = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < end, f"not within {timeout:g} s\n{otherwise()}"
        time.sleep(interval)


def _configure(folder: Path, options: tuple[str, ...], *, gpus: bool) -> Path:
    host = socket.gethostname().split(".")[0]
    port, *ports = _free_ports(1 + len(NODES))
    lines = [CONFIGURATION.format(host=host, port=port, folder=folder).rstrip(), *options]
    if _version() >= (23, 11):  # which wants control groups even where nothing needs them
        (folder / "cgroup.conf").write_text("CgroupPlugin=disabled\n")
    if gpus:
        lines.append("GresTypes=gpu")
        (folder / "gres.conf").write_text(f"Name=gpu File={folder}/dev/gpu[0-{GPUS - 1}]\n")
    generic = f" Gres=gpu:{GPUS}" if gpus else ""
    lines += [
        f"NodeName={node} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs=4 RealMemory=2000{generic}"
        for node, port in zip(NODES, ports, strict=True)
    ]
    path = folder / "slurm.conf"
    path.write_text("\n".join(lines) + "\n")
    return path


def _fake_gpus(folder: Path) -> bool:
    """Make devices that do nothing, as the GPUs of both nodes; False where that is not allowed."""
    try:
        for number in range(GPUS):
            os.mknod(folder / f"gpu{number}", stat.S_IFCHR | 0o600, os.makedev(1, 3))
    except PermissionError:
        return False
    return True


def _start_munge(daemons: contextlib.ExitStack, cluster: Cluster) -> None:
    folder = cluster.folder / "munge"
    key = folder / "key"
    key.touch(mode=0o600)
    key.write_bytes(os.urandom(128))
    options = {"key-file": "key", "socket": "socket", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
    arguments = [f"--{name}={folder / file}" for name, file in options.items()]
    _start(daemons, cluster, "munged", "--foreground", "--force", *arguments)
    wait_until(
        lambda: cluster.run("munge", "-n", "-S", folder / "socket").returncode == 0, 10, lambda: _text(folder / "log")
    )


def _start(daemons: contextlib.ExitStack, cluster: Cluster, program: str, *arguments: object) -> None:
    """Start a daemon that is told to end, and waited for, when ``daemons`` closes."""
    with (cluster.folder / "log" / f"{program}.out").open("ab") as out:
        process = subprocess.Popen(
            [_program(program) or program, *map(str, arguments)],
            env=cluster.environment,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
        )

    def end() -> None:
        process.terminate()
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    daemons.callback(end)


def _cancel_all(cluster: Cluster) -> None:
    """No step outlives its node."""
    cluster.run("scancel", "--user=root")
    with contextlib.suppress(AssertionError):
        wait_until(lambda: not cluster.run("squeue", "-h").stdout.strip(), 20)


def _free_ports(count: int) -> list[int]:
    """Ports that nobody listens on right now."""
    with contextlib.ExitStack() as sockets:
        bound = [sockets.enter_context(socket.socket()) for _ in range(count)]
        for one in bound:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in bound]


def _version() -> tuple[int, int]:
    said = subprocess.run([_program("slurmctld") or "", "-V"], capture_output=True, text=True, check=True).stdout
    numbers = re.search(r"(\d+)\.(\d+)", said)
    assert numbers is not None, said
    return int(numbers[1]), int(numbers[2])


def _program(name: str) -> str | None:
    return shutil.which(name, path=DAEMON_PATH)


def _text(path: Path) -> str:
    return path.read_text(errors="replace") if path.exists() else ""
