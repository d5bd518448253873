#!/usr/bin/env bash
# Installs what tests/distributed starts and Debian packages: packages.sh [PACKAGE…], all of them by default.
# Where that is impossible it says so and succeeds: the tests that need a missing program skip with that reason.
set -u
declare -A program=([postgresql]=initdb [munge]=munged [slurmctld]=slurmctld [slurmd]=slurmd [slurm-client]=sbatch)
PATH=$PATH:/usr/sbin:$(printf '%s:' /usr/lib/postgresql/*/bin)

missing=()
wanted=${*:-postgresql munge slurmctld slurmd slurm-client}
for package in $wanted; do
  command -v "${program[$package]}" > /dev/null || missing+=("$package")
done
[ ${#missing[@]} -eq 0 ] && exit 0

if [ "$(id -u)" -ne 0 ] || ! command -v apt-get > /dev/null; then
  echo "The tests that need them are skipped, unless you install: ${missing[*]} (Debian: apt-get install ${missing[*]})."
  exit 0
fi
echo "Installing ${missing[*]} by apt-get."
log=$(mktemp)
export DEBIAN_FRONTEND=noninteractive
# No service is to start: the tests start what they need, on loopback, and end it.
runs=/usr/sbin/policy-rc.d
[ -e $runs ] || { printf '#!/bin/sh\nexit 101\n' > $runs; chmod +x $runs; trap 'rm -f "$runs"' EXIT; }
if ! { apt-get update && apt-get install --yes --no-install-recommends "${missing[@]}"; } > "$log" 2>&1; then
  tail -n 3 "$log"
  echo "apt-get could not install ${missing[*]}: the tests that need them are skipped."
fi
rm -f "$log"
