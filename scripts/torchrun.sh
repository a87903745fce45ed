#!/usr/bin/env bash
# One surface file, filled by torchrun: on one node, or on several with a common file system.
#
#   torchrun.sh CONFIG OUTPUT [further options of landscape scan]               a process per GPU of this machine
#   PROCESSES=2 torchrun.sh CONFIG OUTPUT                                       two
#   NODES=2 NODE_RANK=0 MASTER_ADDR=node0 torchrun.sh CONFIG OUTPUT             on node0, and
#   NODES=2 NODE_RANK=1 MASTER_ADDR=node0 torchrun.sh CONFIG OUTPUT             the same time on node1
#
# Exit status: 0 when the file is complete; 75 when it was stopped and is saved, then run the same command again, with
# as many processes as you like. What torchrun itself returns says neither.
#
# The number of nodes is fixed (no --nnodes=1:2): when the node with the rendezvous is lost, an elastic torchrun ends
# the others, and one node without the others goes on by itself here: it takes what they have left.
config=${1:-${CONFIG:-config.yaml}}
output=${2:-${OUTPUT:-surface.h5}}
if [ $# -gt 2 ]; then shift 2; else set --; fi
python=${PYTHON:-python} # the one that landscape is installed in
processes=${PROCESSES:-$("$python" -c 'import torch; print(max(1, torch.cuda.device_count()))')}
if [ "${NODES:-1}" -eq 1 ]; then
  where=(--standalone)
else
  where=(--nnodes="$NODES" --node-rank="${NODE_RANK:?}" --master-addr="${MASTER_ADDR:?}" --master-port="${MASTER_PORT:-29500}")
fi

complete() {
  "$python" -m landscape_cli info "$output" --json 2> /dev/null | grep -Eq '"complete": *true'
}

# torchrun passes on SIGTERM and dies of SIGUSR1, which leaves its processes behind. With set -m it has a process group of
# its own, so Ctrl-C reaches it once.
set -m
stopped=
trap 'stopped=yes; kill -TERM $agent 2> /dev/null' INT TERM USR1 USR2

# --max-restarts: after a crash of one process, all of this node save, and start again where they were
"$python" -m torch.distributed.run "${where[@]}" --nproc-per-node="$processes" --max-restarts="${MAX_RESTARTS:-3}" \
  -m landscape_cli scan "$config" -o "$output" "$@" &
agent=$!
while wait $agent; status=$?; [ $status -gt 128 ] && kill -0 $agent 2> /dev/null; do :; done # a trap ends a wait

if [ $status -eq 0 ] || complete; then
  exit 0
fi
if [ -n "$stopped" ]; then
  echo "$output is saved but not complete: run the same command again" >&2
  exit 75
fi
echo "$output is not complete, and nobody stopped the scan: torchrun returned $status" >&2
exit $status
