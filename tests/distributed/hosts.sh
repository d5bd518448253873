# Several hosts on one machine, for tests that are run in namespaces of users, networks and processes of their own:
# everything that is started here is seen by nobody else, and ends with the first process of these namespaces.
# Needs PYTHON, the interpreter with the packages of Dask and Ray.

ip link set lo up
ip link add cables type bridge
ip addr add 10.9.0.1/24 dev cables
ip link set cables up
declare -A HOSTS
ADDRESS_DASK=tcp://10.9.0.1:8786 ADDRESS_RAY=10.9.0.1:6379

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

# kill_host 2: all processes of a host die at once.
kill_host() {
  local held=$(readlink /proc/${HOSTS[$1]}/ns/net) p
  for p in $(pgrep . | grep --invert-match --line-regexp ${HOSTS[$1]}); do
    [ "$(readlink /proc/$p/ns/net)" = "$held" ] && kill -9 $p
  done
  true
}

dask_head() { $PYTHON -m distributed.cli.dask_scheduler --host 10.9.0.1 --port 8786 --no-dashboard & HEAD_PID=$!; }

# dask_node 2: one worker, under the process that starts it again when it dies.
dask_node() {
  on $1 $PYTHON -m distributed.cli.dask_worker $ADDRESS_DASK --host 10.9.0.$1 --nthreads 1 --no-dashboard \
    --local-directory $(mktemp -d) &
}

dask_nodes() { $PYTHON -c "
from distributed import Client
print(len(Client('$ADDRESS_DASK', timeout=2).scheduler_info(n_workers=-1)['workers']))" 2>/dev/null; }

dask_worker() { pgrep --full 'spawn_main.*--multiprocessing-fork' | sed -n "${1}p"; }

ray_start() {
  RAY_TMPDIR=$(mktemp -d /tmp/ray-XXXX) setsid ray start --num-cpus 1 --object-store-memory 100000000 --block \
    --disable-usage-stats "$@" &
}

# Ray's nodes ask each other for a token: one of this cluster's own, that ends with it.
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN=$($PYTHON -c 'import secrets; print(secrets.token_hex(32))')
export RAY_USAGE_STATS_ENABLED=0 PATH=$(dirname $PYTHON):$PATH

ray_head() { ray_start --head --port 6379 --node-ip-address 10.9.0.1 --include-dashboard false; }
ray_node() { [ $1 = 1 ] || on $1 bash -c "$(declare -f ray_start); ray_start --address $ADDRESS_RAY --node-ip-address 10.9.0.$1; wait" & }
ray_nodes() { ray status --address $ADDRESS_RAY 2>/dev/null | sed -n 's|.*/\([0-9]*\)\.0 CPU.*|\1|p'; }
ray_worker() { pgrep --full 'ray::' | sed -n "${1}p"; }

# cluster ENGINE: a head or scheduler here, and one worker here and on each other host.
cluster() {
  ${1}_head
  ${1}_node 1
  for i in ${!HOSTS[@]}; do
    ${1}_node $i
  done
  ready $1 $((1 + ${#HOSTS[@]}))
}

# ready ENGINE NUMBER: waits until the cluster has so many workers.
ready() {
  for i in $(seq 60); do
    [ "$(${1}_nodes)" = $2 ] && return
    sleep 0.5
  done
  echo "the cluster has $(${1}_nodes) workers, not $2"
  exit 3
}

# records NUMBER: waits until so many runs have a record, as long as the sweep lives.
records() {
  for i in $(seq 1200); do
    [ $(find . -name result.json | wc -l) -ge $1 ] && return
    kill -0 $SWEEP_PID || exit 4
    sleep 0.1
  done
  exit 5
}
