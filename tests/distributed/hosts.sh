# Several hosts on one machine, for tests that are run in namespaces of users, networks and processes of their own:
# everything that is started here is seen by nobody else, and ends with the first process of these namespaces.
# Needs PYTHON, the interpreter with the packages of Dask and Ray; ENGINE, dask or ray; SWEEP, the command of a study.

# A node of Ray that fails sends this signal to more than its own processes (and to its whole group: setsid below).
trap '' TERM

ip link set lo up
ip link add cables type bridge
ip addr add 10.9.0.1/24 dev cables
ip link set cables up
declare -A HOSTS

# host 2 [NAME]: a host with the address 10.9.0.2 and a cable to this one, which is 10.9.0.1; a name of its own if given.
host() {
  unshare --net --uts sleep infinity &
  HOSTS[$1]=$!
  until [ "$(readlink /proc/${HOSTS[$1]}/ns/net)" != "$(readlink /proc/$$/ns/net)" ]; do sleep 0.05; done
  ip link add cable$1 type veth peer name eth0 netns ${HOSTS[$1]}
  ip link set cable$1 master cables up
  on $1 sh -c "ip link set lo up; ip addr add 10.9.0.$1/24 dev eth0; ip link set eth0 up; ${2:+hostname $2}"
}

# on 2 COMMAND…: runs a command on a host; on 1 runs it here.
on() {
  local to=$1
  shift
  if [ $to = 1 ]; then "$@"; else nsenter --target ${HOSTS[$to]} --net --uts -- "$@"; fi
}

# processes 2: those of a host, but for the one that keeps it.
processes() {
  local net=$(readlink /proc/${HOSTS[$1]}/ns/net) p
  for p in $(pgrep . | grep --invert-match --line-regexp ${HOSTS[$1]}); do
    [ "$(readlink /proc/$p/ns/net)" = "$net" ] && echo $p
  done
}

# training 2: the process of a host that computes, as soon as there is one, as long as the sweep runs.
training() {
  local p spent then
  for i in $(seq 300); do
    declare -A then=()
    for p in $(processes $1); do then[$p]=$(ticks $p); done
    sleep 0.4
    for p in ${!then[@]}; do
      spent=$(ticks $p)
      [ $((${spent:-0} - ${then[$p]:-0})) -gt 8 ] && echo $p && return
    done
    [ -e status ] && exit 4
  done
  exit 6
}

# ticks PID: hundredths of a second that a process has computed.
ticks() { awk '{print $14 + $15}' /proc/$1/stat 2>/dev/null; }

dask_head() {
  $PYTHON -m distributed.cli.dask_scheduler --host 10.9.0.1 --port 8786 --no-dashboard &
}
dask_node() {
  on $1 $PYTHON -m distributed.cli.dask_worker tcp://10.9.0.1:8786 --host 10.9.0.$1 --nthreads 1 --no-dashboard \
    --local-directory $(mktemp -d) &
}
dask_nodes() {
  $PYTHON -c "
from distributed import Client
print(len(Client('tcp://10.9.0.1:8786', timeout=2).scheduler_info(n_workers=-1)['workers']))" 2>/dev/null
}

# Ray's nodes ask each other for a token: one of this cluster's own, that ends with it.
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN=$($PYTHON -c 'import secrets; print(secrets.token_hex(32))')
export RAY_USAGE_STATS_ENABLED=0 PATH=$(dirname $PYTHON):$PATH

ray_start() {
  on $1 env RAY_TMPDIR=$(mktemp -d /tmp/ray-XXXX) setsid ray start --num-cpus 1 --object-store-memory 100000000 \
    --block --disable-usage-stats --node-ip-address 10.9.0.$1 "${@:2}" &
}
ray_head() { ray_start 1 --head --port 6379 --include-dashboard false; }
ray_node() { [ $1 = 1 ] || ray_start $1 --address 10.9.0.1:6379; }
ray_nodes() { ray status --address 10.9.0.1:6379 2>/dev/null | sed -n 's|.*/\([0-9]*\)\.0 CPU.*|\1|p'; }

declare -A ADDRESS=([dask]=tcp://10.9.0.1:8786 [ray]=10.9.0.1:6379)

# cluster: a head or scheduler here, one worker here and one on each other host.
cluster() {
  ${ENGINE}_head
  for i in $(seq 30); do [ "$(${ENGINE}_nodes)" ] && break; sleep 0.5; done
  for i in 1 ${!HOSTS[@]}; do ${ENGINE}_node $i; done
  for i in $(seq 60); do
    [ "$(${ENGINE}_nodes)" = $((1 + ${#HOSTS[@]})) ] && return
    # `ray start` gives up after 30 s, which are too few for a busy machine.
    for host in ${!HOSTS[@]}; do [ "$(processes $host)" ] || ${ENGINE}_node $host; done
    sleep 0.5
  done
  echo "the cluster has $(${ENGINE}_nodes) workers"
  exit 3
}

kill_head() { pkill -9 --full 'gcs_server|dask_scheduler'; }
kill_cluster() {
  pkill -9 --full 'bin/ray start|gcs_server|raylet|distributed.cli'
  sleep 1
}

# sweep: runs the study's command (start: beside this script, until ended), its output in the file `said`; its exit status in the file `status`.
sweep() {
  rm --force status
  timeout --signal KILL 500 $SWEEP hydra/launcher=$ENGINE hydra.launcher.address=${ADDRESS[$ENGINE]} "$@" >said 2>&1
  echo $? >status
  cat said
}
start() {
  rm --force status
  sweep "$@" &
  SWEEP_PID=$!
}
ended() { wait $SWEEP_PID; }
kill_sweep() { pkill -9 --full "^$PYTHON.*mnist_scaling.train"; }

# records NUMBER: waits until so many runs have a record, and notes which, as long as the sweep runs.
records() {
  for i in $(seq 1800); do
    if [ $(find . -name result.json | wc -l) -ge $1 ]; then
      find . -name result.json -printf '%p %T@\n' >>finished
      return
    fi
    [ -e status ] && exit 4
    sleep 0.1
  done
  exit 5
}
