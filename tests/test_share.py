"""Who is who: ranks from torchrun, Slurm, job arrays and --shard, as real launchers set them."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from landscape_cli.errors import UsageError
from landscape_cli.share import Share, share_of

TORCHRUN = {"RANK": "3", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2", "GROUP_WORLD_SIZE": "4"}
STEP = {  # task 3 of 4 on two nodes, as srun -N2 -n4 sets it
    "SLURM_STEP_ID": "0",
    "SLURM_PROCID": "3",
    "SLURM_STEP_NUM_TASKS": "4",
    "SLURM_LOCALID": "0",
    "SLURM_NODEID": "1",
    "SLURM_STEP_TASKS_PER_NODE": "3,1",
}
BATCH = {"SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_NTASKS": "4", "SLURM_TASKS_PER_NODE": "3,1"}


def array(task: int, first: int, last: int, step: int, count: int) -> dict[str, str]:
    names = {"ID": task, "MIN": first, "MAX": last, "STEP": step, "COUNT": count}
    return {f"SLURM_ARRAY_TASK_{name}": str(number) for name, number in names.items()}


def numbers(share: Share) -> tuple[int, int, int, int]:
    return share.rank, share.world_size, share.local_rank, share.local_world_size


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, (0, 1, 0, 1)),
        (BATCH, (0, 1, 0, 1)),  # the batch script itself is no task
        (TORCHRUN, (3, 8, 1, 2)),
        ({"RANK": "0", "WORLD_SIZE": "1"}, (0, 1, 0, 1)),
        (STEP, (3, 4, 0, 1)),
        ({**STEP, "SLURM_PROCID": "2", "SLURM_LOCALID": "2", "SLURM_NODEID": "0"}, (2, 4, 2, 3)),
        ({**STEP, "SLURM_STEP_TASKS_PER_NODE": "2(x2)", "SLURM_LOCALID": "1"}, (3, 4, 1, 2)),
        ({**BATCH, **STEP, "SLURM_STEP_NUM_TASKS": "1", "SLURM_PROCID": "0"}, (0, 1, 0, 1)),
        (array(0, 0, 15, 1, 16), (0, 16, 0, 1)),
        (array(9, 3, 9, 2, 4), (3, 4, 0, 1)),  # --array=3-9:2
        (array(6, 0, 6, 2, 4), (3, 4, 0, 1)),  # --array=0-7:2
        (array(7, 5, 12, 1, 3), (7, 13, 0, 1)),  # --array=5,7,12
        (array(3, 1, 3, 1, 2), (3, 4, 0, 1)),  # --array=1,3
        (array(7, 7, 7, 1, 1), (7, 8, 0, 1)),  # one task again, beside others of the first array
        (array(0, 0, 0, 1, 1), (0, 2, 0, 1)),
        ({**array(2, 0, 3, 1, 4), **STEP}, (11, 16, 0, 1)),  # 4 tasks of 4 processes
        ({**array(2, 0, 3, 1, 4), **TORCHRUN}, (19, 32, 1, 2)),
    ],
)
def test_launchers_say_who_is_who(environment: dict[str, str], expected: tuple[int, int, int, int]) -> None:
    assert numbers(share_of(environment)) == expected


def test_a_shard_takes_the_place_of_an_array_and_of_launchers_of_one_process() -> None:
    assert numbers(share_of({}, "3/16")) == (3, 16, 0, 1)
    assert numbers(share_of(array(1, 0, 3, 1, 4), "3/16")) == (3, 16, 0, 1)
    assert numbers(share_of({"RANK": "0", "WORLD_SIZE": "1"}, "3/16")) == (3, 16, 0, 1)
    assert share_of(TORCHRUN, "0/1").is_alone
    assert share_of({**array(2, 0, 3, 1, 4), **STEP}, "0/1").is_alone


@pytest.mark.parametrize(
    ("environment", "shard", "words"),
    [
        (TORCHRUN, "3/16", "all of its 8 processes would take the same share"),
        (STEP, "0/2", "beside srun"),
        ({"RANK": "0"}, None, "RANK is set in the environment, but not WORLD_SIZE"),
        ({"WORLD_SIZE": "2"}, None, "WORLD_SIZE is set in the environment, but not RANK"),
        ({"RANK": "8", "WORLD_SIZE": "8"}, None, "RANK is 8 and WORLD_SIZE says 8"),
        ({"RANK": "x", "WORLD_SIZE": "8"}, None, "RANK: found 'x'"),
        ({"RANK": "²", "WORLD_SIZE": "8"}, None, "RANK: found '²'"),
        ({**TORCHRUN, **STEP, "GROUP_WORLD_SIZE": "1"}, None, "srun has started 4 of them"),
        ({key: value for key, value in STEP.items() if key != "SLURM_PROCID"}, None, "SLURM_PROCID: found nothing"),
        ({}, "3", "expected i/n, such as 3/16"),
        ({}, "3/", "expected i/n"),
        ({}, "-1/4", "expected i/n"),
        ({}, "1.5/4", "expected i/n"),
        ({}, "16/16", "numbered from 0; the last of 16 is 15/16"),
        ({}, "0/0", "numbered from 0; the only one of 1 is 0/1"),
    ],
)
def test_what_contradicts_itself_is_refused(environment: dict[str, str], shard: str | None, words: str) -> None:
    with pytest.raises(UsageError, match=re.escape(words)) as error:
        share_of(environment, shard)
    assert error.value.exit_code == 2


def test_torchruns_that_know_of_each_other_are_started_by_srun() -> None:
    environment = {**TORCHRUN, **STEP, "GROUP_WORLD_SIZE": "4", "SLURM_CPUS_PER_TASK": "4"}
    assert numbers(share_of(environment)) == (3, 8, 1, 2)


def test_slurm_says_how_many_cores_there_are() -> None:
    assert share_of({**STEP, "SLURM_CPUS_PER_TASK": "4"}).num_cores == 4
    assert share_of(STEP).num_cores is None
    first = {**STEP, "SLURM_PROCID": "1", "SLURM_LOCALID": "1", "SLURM_NODEID": "0", "SLURM_CPUS_ON_NODE": "12"}
    assert share_of(first).num_cores == 4  # three tasks on this node
    assert share_of({**array(1, 0, 3, 1, 4), "SLURM_CPUS_PER_TASK": "8"}).num_cores == 8
    assert share_of({**array(1, 0, 3, 1, 4), **first}).num_cores == 4


@given(count=st.integers(1, 40), step=st.integers(1, 5), first=st.integers(0, 30), inner=st.integers(1, 4))
def test_every_process_of_an_array_has_a_rank_of_its_own(count: int, step: int, first: int, inner: int) -> None:
    last = first + (count - 1) * step
    shares = [
        share_of({**array(first + i * step, first, last, step, count), "RANK": str(j), "WORLD_SIZE": str(inner)})
        for i in range(count)
        for j in range(inner)
    ]
    if count > 1:
        assert [share.rank for share in shares] == list(range(count * inner))
        assert {share.world_size for share in shares} == {count * inner}
    else:  # others of the same array may be running
        assert len({share.rank for share in shares}) == inner
        assert all(share.rank < share.world_size and not share.is_alone for share in shares)
