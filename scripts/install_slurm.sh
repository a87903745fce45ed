#!/usr/bin/env bash
# Installs Slurm on a Debian machine: two nodes of a real cluster on this machine run the batch scripts in the tests.
# Where it cannot, it says so; those tests are then skipped with their reason.
set -euo pipefail
PATH=$PATH:/usr/sbin:/sbin

missing=()
command -v slurmctld > /dev/null || missing+=(slurmctld)
command -v slurmd > /dev/null || missing+=(slurmd)
command -v sbatch > /dev/null || missing+=(slurm-client)
command -v munged > /dev/null || missing+=(munge)
if [ ${#missing[@]} -eq 0 ]; then
  exit 0
fi
if [ "$(id -u)" -ne 0 ] || ! command -v apt-get > /dev/null; then
  echo "without ${missing[*]}: not root, or no apt-get here; the tests on a real Slurm are skipped"
  exit 0
fi
echo "installing ${missing[*]} …"
export DEBIAN_FRONTEND=noninteractive
if ! output=$({ apt-get update -qq && apt-get install -y -qq --no-install-recommends "${missing[@]}"; } 2>&1); then
  tail -n 5 <<< "$output"
  echo "without ${missing[*]}: could not be installed; the tests on a real Slurm are skipped"
fi
