#!/usr/bin/env bash
# A real Slurm on one machine, to try `intriguing build --cluster slurm` without a cluster.
#
#   workflow/try-slurm.sh install        Debian's packages (apt-get, nothing is started)
#   workflow/try-slurm.sh up [--gpus N]  one node on the loopback, optionally with N pretended GPUs
#   workflow/try-slurm.sh status         exit status 0 where the node is ready for jobs, else 3
#   workflow/try-slurm.sh down           stop what `up` started, put back what it moved aside
#
# Needs Debian or Ubuntu and root; no systemd, so a container will do. Tried on Debian 12 (22.05.8).
# `up` refuses where a Slurm is configured or running that is not its own. Everything it writes lies
# in /var/lib/try-slurm and /etc/slurm; daemons listen on 127.0.0.1 only, with a munge key of their
# own, so that a munge of the machine is neither used nor touched.

set -u
export LC_ALL=C

STATE=/var/lib/try-slurm      # not /run: that is mounted noexec, and job scripts run from here
ETC=/etc/slurm                # not $SLURM_CONF: the executor plugin strips SLURM_* from its jobs
MARK="# Written by workflow/try-slurm.sh: its 'down' removes this file."
ASIDE=before-try-slurm        # suffix of a file that was moved aside
CONFIGS="slurm.conf gres.conf cgroup.conf"
PATIENCE=60                   # seconds to wait for the node, and for daemons to end

main() {
  local action=${1:-}
  [ $# -gt 0 ] && shift
  case $action in
    install) need_root; install_packages ;;
    up) need_root; up "$@" ;;
    down) need_root; down ;;
    status) status ;;
    *) sed -n '2,/^$/s/^# \{0,1\}//p' "$0"; [ "$action" = help ] || exit 2 ;;
  esac
}

say() { echo "try-slurm: $*"; }
refuse() { echo "try-slurm: $*" >&2; exit 2; }

need_root() {
  [ "$(id -u)" -eq 0 ] || refuse "needs root, because Slurm reads $ETC and starts daemons (sudo $0)."
}

install_packages() {
  command -v apt-get >/dev/null || refuse "install needs apt-get (Debian, Ubuntu)."
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -q && apt-get install -qy --no-install-recommends \
    slurmctld slurmd slurm-client munge
}

# ---------------------------------------------------------------- what is there

ours() { [ -f "$ETC/slurm.conf" ] && grep -qxF "$MARK" "$ETC/slurm.conf"; }

# The id of a daemon of ours if it runs: its pid file must name a process of that name.
pid_of() {
  local file=$STATE/$1.pid pid
  [ "$1" = munged ] && file=$STATE/munge/munged.pid
  [ -s "$file" ] || return 1
  pid=$(cat "$file")
  case $(cat "/proc/$pid/comm" 2>/dev/null) in "$1"*) echo "$pid" ;; *) return 1 ;; esac
}

running_elsewhere() {
  local name pid
  for name in slurmctld slurmd; do
    for pid in $(pidof "$name"); do
      [ "$pid" = "$(pid_of "$name")" ] || { echo "$name ($pid)"; return 0; }
    done
  done
  return 1
}

node_state() { timeout 10 sinfo -h -o %T 2>/dev/null | head -n 1; }

ready() { case $(node_state) in idle | mixed | allocated) return 0 ;; *) return 1 ;; esac; }

status() {
  ours || { say "down (no $ETC/slurm.conf of ours)"; exit 3; }
  ready || { say "not ready; the node is: $(node_state || true)"; exit 3; }
  say "up"
  timeout 10 sinfo -o '%n %c CPUs %m MB %G %T'
  timeout 10 squeue -o '%i %T %M %k'
}

# ---------------------------------------------------------------- up

up() {
  local gpus=0 name
  while [ $# -gt 0 ]; do
    case $1 in
      --gpus) gpus=${2:-}; shift ;;
      *) refuse "up has no option '$1'; it takes --gpus N." ;;
    esac
    shift || true
  done
  case $gpus in [0-8]) ;; *) refuse "--gpus takes a number from 0 to 8, not '$gpus'." ;; esac
  for name in munged slurmctld slurmd sinfo; do
    command -v $name >/dev/null || refuse "$name is not installed; run: $0 install"
  done
  check_foreign
  if ours && ready; then say "already up (to change the GPUs: down, then up)"; return 0; fi
  ours && stop_all
  rm -rf "$STATE"
  install -d -m 755 "$STATE" "$STATE/ctld" "$STATE/slurmd" "$ETC"
  write_config "$gpus"
  if start_munge && start slurmctld -c && start slurmd && wait_ready; then
    say "up: $(timeout 10 sinfo -h -o '%n, %c CPUs, %m MB, GPUs %G')"
    return 0
  fi
  say "could not bring the node up; the ends of the logs:" >&2
  tail -n 12 "$STATE"/*.log >&2
  down
  exit 1
}

check_foreign() {
  local other
  [ -z "${SLURM_CONF:-}" ] || refuse "SLURM_CONF is set, so a Slurm is in use here; unset it first."
  if [ -e "$ETC/slurm.conf" ] && ! ours; then
    refuse "$ETC/slurm.conf is not ours: a real Slurm is configured on this machine."
  fi
  if other=$(running_elsewhere); then refuse "$other runs already, and it is not ours."; fi
}

write_config() {
  local gpus=$1 host cpus memory i gres='' types='' file
  host=$(hostname -s)
  cpus=$(nproc)
  memory=$(awk '/^MemTotal/ {print int($2 / 1024 * 0.9)}' /proc/meminfo)
  for file in $CONFIGS; do
    if [ -e "$ETC/$file" ] && ! grep -qxF "$MARK" "$ETC/$file"; then
      mv "$ETC/$file" "$ETC/$file.$ASIDE"
    fi
    rm -f "${ETC:?}/$file"
  done
  if [ "$gpus" -gt 0 ]; then
    types="GresTypes=gpu" gres="Gres=gpu:$gpus"
    echo "$MARK" >"$ETC/gres.conf"
    i=0
    while [ $i -lt "$gpus" ]; do
      # Slurm counts a GPU only where there is a device file: with Flags=CountOnly the node reports
      # none and is drained. The file may be any character device; this one is another /dev/null.
      mknod -m 666 "$STATE/gpu$i" c 1 3 || refuse "mknod failed; try '--gpus 0'."
      echo "NodeName=$host Name=gpu File=$STATE/gpu$i" >>"$ETC/gres.conf"
      i=$((i + 1))
    done
  fi
  cat >"$ETC/slurm.conf" <<CONF
$MARK
ClusterName=try
SlurmctldHost=$host(127.0.0.1)
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket=$STATE/munge/socket
# the daemons listen on 127.0.0.1 and not on every address
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
StateSaveLocation=$STATE/ctld
SlurmdSpoolDir=$STATE/slurmd
SlurmctldPidFile=$STATE/slurmctld.pid
SlurmdPidFile=$STATE/slurmd.pid
SlurmctldLogFile=$STATE/slurmctld.log
SlurmdLogFile=$STATE/slurmd.log
# no control groups (containers), no accounting database
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
# jobs stay visible to squeue for so many seconds: without a database the head needs to see them end
MinJobAge=300
# jobs are as nice as whoever hands them in
PropagatePrioProcess=1
# the node is what this file says, and comes back by itself after a restart
SlurmdParameters=config_overrides
ReturnToService=2
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
$types
NodeName=$host NodeAddr=127.0.0.1 CPUs=$cpus RealMemory=$memory $gres State=UNKNOWN
PartitionName=main Nodes=$host Default=YES MaxTime=INFINITE State=UP
CONF
}

start_munge() {
  local user=munge
  id munge >/dev/null 2>&1 || user=root
  install -d -m 755 -o $user "$STATE/munge"
  ( umask 077 && head -c 128 /dev/urandom >"$STATE/munge/key" )
  chown $user "$STATE/munge/key"
  install -m 644 -o $user /dev/null "$STATE/munge/munged.log"
  timeout 20 runuser -u $user -- munged --key-file="$STATE/munge/key" \
    --socket="$STATE/munge/socket" --pid-file="$STATE/munge/munged.pid" \
    --log-file="$STATE/munge/munged.log" --seed-file="$STATE/munge/seed" || return 1
}

start() {
  local name=$1
  shift
  timeout 20 "$name" "$@" >>"$STATE/$name.start.log" 2>&1
}

# Wait for the node; a drained or lost one (an earlier life of it, say) is asked back.
wait_ready() {
  local waited=0 state
  until ready; do
    state=$(node_state)
    if [ $waited -ge $PATIENCE ]; then
      say "the node is '${state:-unknown}' after $PATIENCE s" >&2
      return 1
    fi
    case $state in
      drain* | down*)
        timeout 10 scontrol update nodename="$(hostname -s)" state=resume >/dev/null 2>&1 ;;
    esac
    sleep 1
    waited=$((waited + 1))
  done
}

# ---------------------------------------------------------------- down

down() {
  if [ -e "$ETC/slurm.conf" ] && ! ours; then
    refuse "$ETC/slurm.conf is not ours; nothing was stopped."
  fi
  stop_all
  local file
  for file in $CONFIGS; do
    if [ -f "$ETC/$file" ] && grep -qxF "$MARK" "$ETC/$file"; then rm -f "${ETC:?}/$file"; fi
    if [ -e "$ETC/$file.$ASIDE" ]; then mv "$ETC/$file.$ASIDE" "$ETC/$file"; fi
  done
  rmdir "$ETC" 2>/dev/null
  rm -rf "$STATE"
  say "down"
}

# Jobs first, so that none outlives its slurmd; then the daemons, in the reverse order of `up`.
stop_all() {
  local name waited=0
  if pid_of slurmd >/dev/null; then
    pid_of slurmctld >/dev/null || start slurmctld
    timeout 10 scancel --quiet --partition=main >/dev/null 2>&1
    while [ -n "$(timeout 10 squeue -h 2>/dev/null)" ] && [ $waited -lt $PATIENCE ]; do
      sleep 1
      waited=$((waited + 1))
    done
  fi
  for name in slurmd slurmctld munged; do stop "$name"; done
}

stop() {
  local pid waited=0
  pid=$(pid_of "$1") || return 0
  kill "$pid" 2>/dev/null
  while [ -d "/proc/$pid" ] && [ $waited -lt $PATIENCE ]; do sleep 0.5; waited=$((waited + 1)); done
  if [ -d "/proc/$pid" ]; then kill -9 "$pid"; fi
}

main "$@"
