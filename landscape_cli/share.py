"""Which share of the points a process takes: from ``--shard``, torchrun, a Slurm step or a Slurm array."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from landscape_cli.errors import UsageError

_HOW_ALONE = "To scan with this process alone: --shard 0/1"


@dataclass(frozen=True)
class Share:
    """One of ``world_size`` processes that fill a file together.

    Attributes:
        rank: From 0 to world_size − 1; who has rank 0 speaks for all.
        world_size: How many processes there are, on all machines.
        local_rank: Number among those of this machine: which device.
        local_world_size: How many of them run on this machine.
        source: What says so, in words.
        num_cores: Cores that the launcher gives to this process; None for an equal share of those of the machine.
    """

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0
    local_world_size: int = 1
    source: str = "alone"
    num_cores: int | None = None

    @property
    def is_alone(self) -> bool:
        """Whether there is no other process."""
        return self.world_size == 1

    def within(self, outer: Share) -> Share:
        """This share of a share: a launcher inside a task of an array."""
        if outer.is_alone:
            return self
        return replace(
            self,
            num_cores=outer.num_cores if self.is_alone else self.num_cores,
            rank=outer.rank * self.world_size + self.rank,
            world_size=outer.world_size * self.world_size,
            source=outer.source if self.is_alone else f"{self.source} in {outer.source}",
        )


ALONE = Share()


def share_of(environment: Mapping[str, str], shard: str | None = None) -> Share:
    """The share of this process.

    A launcher speaks through the environment: torchrun by RANK and WORLD_SIZE, ``srun`` by SLURM_PROCID within a step,
    ``sbatch --array`` by SLURM_ARRAY_TASK_ID. A launcher inside a task of an array divides the share of that task.

    Args:
        environment: Such as ``os.environ``.
        shard: ``i/n`` with i from 0 to n − 1, in place of an array; ``0/1`` for a process alone, whatever started it.

    Raises:
        UsageError: What is said is incomplete or contradicts itself.
    """
    launcher = share_of_launch(environment)
    if shard is None:
        return launcher.within(_of_slurm_array(environment))
    named = _of_shard(shard)
    if named.is_alone or launcher.is_alone:
        return named
    raise UsageError(
        f"--shard {shard}: found beside {launcher.source}; all of its {launcher.world_size} processes would take the "
        "same share",
        hint=f"Leave out --shard: {launcher.source} says who is who. {_HOW_ALONE}",
    )


def share_of_launch(environment: Mapping[str, str]) -> Share:
    """The share of this process among those that one launcher has started; tasks of an array are not among them.

    Raises:
        UsageError: As `share_of`.
    """
    return _of_torchrun(environment) or _of_slurm_step(environment) or ALONE


def _of_shard(shard: str) -> Share:
    number, slash, of = shard.partition("/")
    if not (slash and number.isascii() and number.isdigit() and of.isascii() and of.isdigit()):
        raise UsageError(f"--shard: found {shard!r}; expected i/n, such as 3/16 for the fourth of 16 processes")
    rank, world_size = int(number), int(of)
    if not rank < world_size:
        last = (
            f"the last of {world_size} is {world_size - 1}/{world_size}" if world_size else "the only one of 1 is 0/1"
        )
        raise UsageError(f"--shard: found {shard}; shares are numbered from 0; {last}")
    return Share(rank, world_size, source=f"--shard {shard}")


def _of_torchrun(environment: Mapping[str, str]) -> Share | None:
    found = [name for name in ("RANK", "WORLD_SIZE") if name in environment]
    if not found:
        return None
    if len(found) == 1:
        missing = "WORLD_SIZE" if found == ["RANK"] else "RANK"
        raise UsageError(
            f"{found[0]} is set in the environment, but not {missing}", hint=f"Set both or none. {_HOW_ALONE}"
        )
    rank, world_size = _number(environment, "RANK"), _number(environment, "WORLD_SIZE")
    local_world_size = _number(environment, "LOCAL_WORLD_SIZE", 1)
    share = Share(rank, world_size, _number(environment, "LOCAL_RANK", 0), local_world_size, "torchrun")
    _check(share, "RANK", "WORLD_SIZE")
    num_agents = _number(environment, "SLURM_STEP_NUM_TASKS", 1) if "SLURM_STEP_ID" in environment else 1
    if num_agents > 1 and _number(environment, "GROUP_WORLD_SIZE", 0) == 1:
        raise UsageError(
            f"torchrun says that it runs on one machine, but srun has started {num_agents} of them",
            hint=f"Let them know of each other: srun torchrun --nnodes {num_agents} --rdzv-backend c10d "
            "--rdzv-endpoint HOST:PORT …",
        )
    return share


def _of_slurm_step(environment: Mapping[str, str]) -> Share | None:
    if "SLURM_STEP_ID" not in environment:  # SLURM_PROCID is also set in a batch script, where nobody has rank 1
        return None
    share = Share(
        _number(environment, "SLURM_PROCID"),
        _number(environment, "SLURM_STEP_NUM_TASKS"),
        _number(environment, "SLURM_LOCALID", 0),
        _tasks_here(environment),
        "srun",
    )
    cores = _number(environment, "SLURM_CPUS_PER_TASK", 0)
    cores = cores or _number(environment, "SLURM_CPUS_ON_NODE", 0) // share.local_world_size
    share = replace(share, num_cores=cores or None)
    _check(share, "SLURM_PROCID", "SLURM_STEP_NUM_TASKS")
    return share


def _tasks_here(environment: Mapping[str, str]) -> int:
    """Tasks of the step on this node, from a text such as ``2(x3),1``."""
    node = _number(environment, "SLURM_NODEID", 0)
    counts: list[int] = []
    for item in environment.get("SLURM_STEP_TASKS_PER_NODE", "").split(","):
        count, _, times = item.partition("(x")
        if count.isdigit():
            counts += [int(count)] * int(times.rstrip(")") or 1)
    return counts[node] if node < len(counts) else _number(environment, "SLURM_LOCALID", 0) + 1


def _of_slurm_array(environment: Mapping[str, str]) -> Share:
    if "SLURM_ARRAY_TASK_ID" not in environment:
        return ALONE
    task = _number(environment, "SLURM_ARRAY_TASK_ID")
    first, last = (_number(environment, f"SLURM_ARRAY_TASK_{name}", task) for name in ("MIN", "MAX"))
    count, step = _number(environment, "SLURM_ARRAY_TASK_COUNT", 1), _number(environment, "SLURM_ARRAY_TASK_STEP", 1)
    is_regular = step > 0 and (last - first) // step + 1 == count > 1 and (task - first) % step == 0
    # 3,7 or 7 are tasks of an array 0-… that are run again, perhaps beside the others; what nobody has is swept up
    rank, world_size = ((task - first) // step, count) if is_regular else (task, max(last + 1, 2))
    cores = _number(environment, "SLURM_CPUS_PER_TASK", 0) or None
    share = Share(rank, world_size, source="a job array", num_cores=cores)
    _check(share, "SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_TASK_MAX")
    return share


def _number(environment: Mapping[str, str], name: str, default: int | None = None) -> int:
    text = environment.get(name)
    if text is None and default is not None:
        return default
    if text is None or not (text.isascii() and text.isdigit()):
        found = "nothing" if text is None else repr(text)
        raise UsageError(f"{name}: found {found} in the environment; expected a whole number", hint=_HOW_ALONE)
    return int(text)


def _check(share: Share, rank: str, world_size: str) -> None:
    if not share.rank < share.world_size:
        raise UsageError(
            f"{rank} is {share.rank} and {world_size} says {share.world_size}; ranks are below that", hint=_HOW_ALONE
        )
