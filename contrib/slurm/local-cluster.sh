#!/usr/bin/env bash
# A Slurm of this machine's own for trying and testing batches: munged, slurmctld and a slurmd a node on the loopback address, with
# key, configuration, state, ports and logs in one folder. Nothing of the system is changed, `down` leaves no process.
#
#   contrib/slurm/local-cluster.sh up FOLDER      then: export SLURM_CONF=FOLDER/slurm.conf
#   contrib/slurm/local-cluster.sh down FOLDER
#   contrib/slurm/local-cluster.sh start-node|stop-node FOLDER NAME, restart-controller FOLDER
#
# Needs Debian's slurm-wlm and munge, and root (slurmd starts tasks of other users). NODES=2 names as many node names on
# this one host as there shall be, CPUS=2 of each.
set -u
verb=${1:-} folder=${2:-} nodes=${NODES:-2} cpus=${CPUS:-2}

fail() { echo "local-cluster: $*" >&2; exit 1; }
[ -n "$folder" ] || fail "usage: local-cluster.sh up|down|start-node|stop-node|restart-controller FOLDER [NODE]"
case $folder in /*) ;; *) folder=$PWD/$folder ;; esac

free_port() { # the first port from a random one on that nobody listens on
    local port=$((20000 + RANDOM % 20000))
    while (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do port=$((port + 1)); done
    echo "$port"
}

write_config() {
    local host first=$1 user i
    host=$(hostname -s)
    user=$(id -un)
    cat >"$folder/slurm.conf" <<END
ClusterName=tessera-local
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$first
SlurmUser=$user
SlurmdUser=$user
AuthType=auth/munge
AuthInfo=socket=$folder/munge.socket
CryptoType=crypto/munge
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool-%n
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd-%n.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
ReturnToService=2
SlurmdTimeout=5
SlurmctldTimeout=10
InactiveLimit=0
MinJobAge=300
KillWait=2
JobRequeue=1
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_interval=2,bf_interval=2,sched_min_interval=0
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
END
    for ((i = 1; i <= nodes; i++)); do
        echo "NodeName=n$i NodeHostname=$host NodeAddr=127.0.0.1 Port=$((first + i)) CPUs=$cpus RealMemory=4000 State=UNKNOWN"
    done >>"$folder/slurm.conf"
    cat >>"$folder/slurm.conf" <<END
PartitionName=work Nodes=ALL Default=YES PriorityTier=1 PreemptMode=REQUEUE MaxTime=INFINITE State=UP
PartitionName=urgent Nodes=ALL PriorityTier=10 PreemptMode=OFF MaxTime=INFINITE State=UP
END
}

start_munge() {
    dd if=/dev/urandom of="$folder/munge.key" bs=128 count=1 status=none && chmod 400 "$folder/munge.key"
    munged --socket="$folder/munge.socket" --key-file="$folder/munge.key" --pid-file="$folder/munge.pid" \
        --log-file="$folder/munge.log" --seed-file="$folder/munge.seed" --force
}

start_controller() { slurmctld -f "$folder/slurm.conf" >>"$folder/out.log" 2>&1; }
start_node() { slurmd -f "$folder/slurm.conf" -N "$1" >>"$folder/out.log" 2>&1; }

# Ends the process of a pid file and waits until it is gone.
stop_pid() { # file signal
    local pid i
    pid=$(cat "$1" 2>/dev/null) || return 0
    kill "-${2:-TERM}" "$pid" 2>/dev/null || return 0
    for ((i = 0; i < 100; i++)); do
        kill -0 "$pid" 2>/dev/null || return 0
        sleep 0.1
    done
    kill -9 "$pid" 2>/dev/null
}

up() {
    local i
    for tool in munged slurmctld slurmd sbatch squeue scontrol; do
        command -v $tool >/dev/null || PATH=$PATH:/usr/sbin:/sbin
        command -v $tool >/dev/null || fail "$tool is missing: apt-get install slurm-wlm munge"
    done
    [ "$(id -u)" -eq 0 ] || fail "run as root"
    [ ! -e "$folder/slurm.conf" ] || fail "$folder: there is a cluster already"
    mkdir -p "$folder/state" && chmod 755 "$folder" || exit 1
    for ((i = 1; i <= nodes; i++)); do mkdir -p "$folder/spool-n$i"; done
    write_config "$(free_port)"
    export SLURM_CONF=$folder/slurm.conf
    start_munge || fail "munged: $(tail -3 "$folder/munge.log")"
    start_controller || fail "slurmctld: $(tail -3 "$folder/slurmctld.log")"
    for ((i = 1; i <= nodes; i++)); do start_node "n$i" || fail "slurmd: $(tail -3 "$folder/slurmd-n$i.log")"; done
    for ((i = 0; i < 300; i++)); do
        [ "$(sinfo -h -N -p work -t idle -o %N 2>/dev/null | wc -l)" -eq "$nodes" ] && return 0
        sleep 0.1
    done
    sinfo -N -l >&2
    fail "the nodes do not become idle, see $folder"
}

# Tasks first: slurmd leaves them alone when it ends.
down() {
    local file i
    [ -e "$folder/slurm.conf" ] || return 0
    if timeout 10 squeue -h >/dev/null 2>&1; then
        timeout 10 scancel --user="$(id -un)" 2>/dev/null
        for ((i = 0; i < 100; i++)); do
            [ -z "$(timeout 10 squeue -h 2>/dev/null)" ] && break
            sleep 0.1
        done
    fi
    for file in "$folder"/slurmd-*.pid "$folder/slurmctld.pid" "$folder/munge.pid"; do stop_pid "$file"; done
    rm -rf "$folder"
}

export SLURM_CONF=$folder/slurm.conf PATH=$PATH:/usr/sbin:/sbin
case $verb in
up) up ;;
down) down ;;
start-node) start_node "${3:?node}" ;;
stop-node) stop_pid "$folder/slurmd-${3:?node}.pid" "${4:-TERM}" ;;
restart-controller)
    stop_pid "$folder/slurmctld.pid" KILL
    start_controller
    ;;
*) fail "\"$verb\" is none of up, down, start-node, stop-node, restart-controller" ;;
esac
