#!/usr/bin/env bash
# A SLURM on this machine, for tests: `local_slurm.sh DIR start`, then `SLURM_CONF=DIR/slurm.conf
# sbatch ...`, then `local_slurm.sh DIR stop`. Its two nodes are two daemons; the first has the
# name of this machine, which can be looked up. Needs root, and Debian's packages slurm-wlm and munge.
set -euo pipefail
dir=$(mkdir -p "$1" && cd "$1" && pwd)
host=$(hostname -s)

start() {
    mkdir -p "$dir/state" "$dir/spool.$host" "$dir/spool.$host-2" /run/munge
    chown munge: /run/munge
    [ -s /etc/munge/munge.key ] || mungekey --create
    chown munge: /etc/munge/munge.key
    pgrep -x munged > /dev/null || runuser -u munge -- munged
    cat > "$dir/slurm.conf" <<CONF
ClusterName=tests
SlurmctldHost=$host(127.0.0.1)
SlurmUser=root
AuthType=auth/munge
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
ReturnToService=2
SwitchType=switch/none
SchedulerType=sched/backfill
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
JobRequeue=1
KillWait=120
MinJobAge=300
SlurmctldPidFile=$dir/slurmctld.pid
SlurmdPidFile=$dir/slurmd.%n.pid
SlurmctldLogFile=$dir/slurmctld.log
SlurmdLogFile=$dir/slurmd.%n.log
SlurmctldPort=16817
StateSaveLocation=$dir/state
SlurmdSpoolDir=$dir/spool.%n
NodeName=$host NodeHostname=$host NodeAddr=127.0.0.1 Port=16818 CPUs=1 RealMemory=2000
NodeName=$host-2 NodeHostname=$host NodeAddr=127.0.0.1 Port=16819 CPUs=1 RealMemory=2000
PartitionName=tests Nodes=ALL Default=YES MaxTime=INFINITE State=UP
CONF
    export SLURM_CONF="$dir/slurm.conf"
    slurmctld
    slurmd -N "$host"
    slurmd -N "$host-2"
    for _ in $(seq 60); do
        sinfo --noheader --format %T 2> /dev/null | grep -qx idle && return
        sleep 1
    done
    sinfo || true
    tail "$dir"/*.log
    exit 1
}

stop() {
    for daemon in "slurmd.$host" "slurmd.$host-2" slurmctld; do
        [ -f "$dir/$daemon.pid" ] && kill "$(cat "$dir/$daemon.pid")"
    done
}

"$2"
