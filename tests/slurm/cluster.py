"""A real SLURM on this machine: ``python tests/slurm/cluster.py COMMAND ...`` runs a command beside it and ends it.

Needs Debian's packages slurm-wlm and munge, and no rights: daemons of this user, on free ports of the loopback, with
all they write in a folder under the system's temporary one. One node, without accounting, with more cores, memory and
GPUs (which can compute nothing) than the machine has, so that jobs of any profile are let in.
"""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "scontrol", "squeue", "scancel")
SYSTEM = "/usr/sbin:/usr/bin"  # daemons are not in everybody's PATH
# cred_expire: a requeued job waits so long (120 seconds by default) before it begins again
CONFIGURATION = """
ClusterName=mola
SlurmctldHost={host}(127.0.0.1)
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
ReturnToService=2
KillWait=30
MinJobAge=3600
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=2,sched_interval=2,batch_sched_delay=0
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
GresTypes=gpu
NodeName={host} NodeAddr=127.0.0.1 CPUs=16 RealMemory=256000 Gres=gpu:{gpus} State=UNKNOWN
PartitionName=main Nodes={host} Default=YES MaxTime=INFINITE DefMemPerCPU=1000 State=UP
"""
# slurmd takes any device for a card
GPUS = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random")
# the jobs' own Snakemake drops SLURM_CONF before it calls srun
SRUN = '#!/bin/sh\nSLURM_CONF={folder}/slurm.conf exec {srun} "$@"\n'


def missing() -> str:
    """What a cluster lacks here, in words; empty where it can be started."""
    absent = [name for name in PROGRAMS if program(name) is None]
    return f"no {', '.join(absent)}: apt-get install slurm-wlm munge" if absent else ""


def program(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:{SYSTEM}")


class Cluster:
    """SLURM while the block runs.

    environment: with it, programs of SLURM and Snakemake talk to this cluster.
    """

    def __enter__(self) -> Cluster:
        with ExitStack() as started:
            self.folder = Path(tempfile.mkdtemp(prefix="slurm-"))
            started.callback(shutil.rmtree, self.folder, ignore_errors=True)
            # others look for the socket of munge
            self.folder.chmod(0o711)
            self._write()
            self.environment = os.environ | {
                "SLURM_CONF": str(self.folder / "slurm.conf"),
                "PATH": f"{self.folder / 'bin'}:{os.environ.get('PATH', '')}:{SYSTEM}",
            }
            munge = {key: self.folder / f"munge.{key}" for key in ("socket", "pid-file", "log-file", "seed-file")}
            files = [f"--{key}={path}" for key, path in munge.items()]
            self._start(started, "munged", "--foreground", f"--key-file={self.folder / 'munge.key'}", *files)
            self._wait("munged", munge["socket"].exists)
            self._start(started, "slurmctld", "-D", "-i", "-f", str(self.folder / "slurm.conf"))
            self._start(started, "slurmd", "-D", "-N", _host(), "-f", str(self.folder / "slurm.conf"))
            started.callback(self._end_jobs)
            self._wait("slurmd", lambda: self.run("sinfo", "-h", "-o", "%t", check=False).strip() == "idle")
            self._started = started.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._started.close()

    def run(self, *command: str, check: bool = True) -> str:
        """What a command of SLURM prints."""
        done = subprocess.run(
            command, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
        )
        if check and done.returncode:
            raise RuntimeError(f"{' '.join(command)}: {done.stdout}")
        return done.stdout

    def _write(self) -> None:
        (self.folder / "munge.key").write_bytes(os.urandom(128))
        (self.folder / "munge.key").chmod(0o600)
        for name in ("state", "spool", "bin"):
            (self.folder / name).mkdir()
        (self.folder / "slurm.conf").write_text(
            CONFIGURATION.format(
                host=_host(), user=getpass.getuser(), folder=self.folder, ports=_free_ports(2), gpus=len(GPUS)
            )
        )
        gpus = [f"NodeName={_host()} Name=gpu File={path}\n" for path in GPUS]
        (self.folder / "gres.conf").write_text("".join(gpus))
        srun = self.folder / "bin/srun"
        srun.write_text(SRUN.format(folder=self.folder, srun=program("srun")))
        srun.chmod(0o755)

    def _start(self, started: ExitStack, name: str, *words: str) -> None:
        log = started.enter_context((self.folder / f"{name}.log").open("wb"))
        process = subprocess.Popen(
            [program(name), *words], env=self.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            start_new_session=True,
        )  # fmt: skip
        started.callback(_end, process)
        self._process = process

    def _wait(self, name: str, is_up) -> None:
        until = time.monotonic() + 60
        while not is_up():
            if self._process.poll() is not None or time.monotonic() > until:
                lines = "".join(path.read_text(errors="replace")[-2000:] for path in self.folder.glob("*.log"))
                raise RuntimeError(f"{name} did not start: {lines}")
            time.sleep(0.1)

    def _end_jobs(self) -> None:
        self.run("scancel", "--user", getpass.getuser(), check=False)
        until = time.monotonic() + 30
        while self.run("squeue", "-h", check=False).strip() and time.monotonic() < until:
            time.sleep(0.2)


def _host() -> str:
    return socket.gethostname().split(".")[0]


def _free_ports(number: int) -> list[int]:
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(number)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def _end(process: subprocess.Popen) -> None:
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def main() -> int:
    if reason := missing():
        print(f"cluster.py: {reason}", file=sys.stderr)
        return 2
    with Cluster() as cluster:
        return subprocess.run(sys.argv[1:] or ["sinfo"], env=cluster.environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
