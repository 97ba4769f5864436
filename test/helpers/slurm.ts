// A Slurm cluster of three nodes on this machine, for one test file. As root, with Debian's slurmctld, slurmd, slurm-client and munge.
import { spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

const PROGRAMS = ['munged', 'slurmctld', 'slurmd', 'sbatch', 'squeue', 'scontrol', 'runuser'];
const NODES = ['n1', 'n2', 'n3'] as const;
type Node = (typeof NODES)[number];

/** Why there is no cluster; undefined if there can be one. With CI=true there must be. */
export function missingSlurm(): string | undefined {
  const missing = PROGRAMS.filter((name) => spawnSync('which', [name]).status !== 0);
  const why =
    missing.length > 0 ? `${missing.join(', ')} not installed` : process.getuid?.() === 0 ? undefined : 'not root';
  if (why !== undefined && process.env['CI'] === 'true') throw new Error(`Slurm: ${why}`);
  return why;
}

export class Slurm {
  private constructor(
    readonly folder: string,
    private readonly conf: string,
  ) {}

  /** @param seconds after which a node that does not answer is down */
  static async start(seconds = 30): Promise<Slurm> {
    const folder = mkdtempSync(join(tmpdir(), 'diffmine-slurm-'));
    const at = (...names: string[]): string => join(folder, ...names);
    const port = 20_000 + (process.pid % 10_000);
    for (const name of ['state', 'log', 'run', ...NODES.map((node) => join('spool', node))])
      mkdirSync(at(name), { recursive: true });
    writeFileSync(at('munge.key'), randomBytes(1024), { mode: 0o400 });
    ran('chmod', '755', folder);
    ran('chown', '-R', 'munge:munge', at('munge.key'), at('run'));
    const host = hostname();
    const node = (name: Node, index: number): string =>
      `NodeName=${name} NodeHostname=${host} NodeAddr=127.0.0.1 Port=${port + 1 + index} CPUs=2 RealMemory=4000`;
    const conf = at('slurm.conf');
    writeFileSync(
      conf,
      `ClusterName=test
SlurmctldHost=${host}(127.0.0.1)
SlurmctldPort=${port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=${at('run', 'munge.socket')},cred_expire=10
CredType=cred/munge
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
SlurmdTimeout=${seconds}
KillWait=5
StateSaveLocation=${at('state')}
SlurmdSpoolDir=${at('spool')}/%n
SlurmctldPidFile=${at('run', 'slurmctld.pid')}
SlurmdPidFile=${at('run')}/slurmd-%n.pid
SlurmctldLogFile=${at('log', 'slurmctld.log')}
SlurmdLogFile=${at('log')}/slurmd-%n.log
SlurmdParameters=config_overrides
${NODES.map(node).join('\n')}
PartitionName=main Nodes=${NODES.join(',')} Default=YES MaxTime=INFINITE State=UP
`,
    );
    const munge = ['socket', 'log-file', 'pid-file', 'seed-file'].map((option) => {
      const name = { socket: 'munge.socket', 'log-file': 'munged.log', 'pid-file': 'munged.pid', 'seed-file': 'seed' };
      return `--${option}=${at('run', name[option as keyof typeof name])}`;
    });
    ran('runuser', '-u', 'munge', '--', 'munged', '--force', `--key-file=${at('munge.key')}`, ...munge);
    ran('slurmctld', '-f', conf);
    for (const name of NODES) ran('slurmd', '-f', conf, '-N', name);
    const cluster = new Slurm(folder, conf);
    await until('the nodes are idle', () => cluster.ask('sinfo', '-h', '-o', '%D %T') === '3 idle');
    return cluster;
  }

  get env(): Record<string, string> {
    return { SLURM_CONF: this.conf };
  }

  /** What a client of the cluster prints. */
  ask(program: string, ...args: string[]): string {
    return spawnSync(program, args, { encoding: 'utf8', env: { ...process.env, ...this.env } }).stdout.trim();
  }

  /** Waits until no task of a job is left. @returns the state of each */
  async finished(job: string): Promise<string[]> {
    await until(`job ${job} is finished`, () => this.ask('squeue', '-h', '-j', job) === '');
    return [...this.ask('scontrol', '-o', 'show', 'job', job).matchAll(/JobState=(\w+)/g)].map(
      ([, state]) => state ?? '',
    );
  }

  /** Kills a node's daemon and all that runs on it, as when its power fails: those who would report an end come first. */
  powerOff(node: Node): void {
    const daemon = Number(readFileSync(join(this.folder, 'run', `slurmd-${node}.pid`), 'utf8'));
    const scripts = processes((words) => words.includes(join(this.folder, 'spool', node)));
    const steps = scripts.map(parentOf);
    const others = steps.flatMap(descendants);
    for (const pid of [daemon, ...steps, ...others]) kill(pid);
  }

  stop(): void {
    for (const name of readdirSync(join(this.folder, 'run')))
      if (name.endsWith('.pid')) kill(Number(readFileSync(join(this.folder, 'run', name), 'utf8')));
    for (const pid of processes((words) => words.includes(this.folder))) kill(pid);
    rmSync(this.folder, { recursive: true, force: true });
  }
}

/** @throws after four minutes: a node that dies is noticed, and its task starts, a minute later on an idle machine */
export async function until(what: string, found: () => boolean): Promise<void> {
  const end = Date.now() + 240_000;
  while (!found()) {
    if (Date.now() > end) throw new Error(`timed out: ${what}`);
    await sleep(100);
  }
}

/** Ids of the processes whose command line `fits`. */
export function processes(fits: (words: string) => boolean): number[] {
  return readdirSync('/proc').flatMap((name) => {
    if (!/^\d+$/.test(name) || Number(name) === process.pid) return [];
    try {
      return fits(readFileSync(`/proc/${name}/cmdline`, 'latin1').replaceAll('\0', ' ')) ? [Number(name)] : [];
    } catch {
      return [];
    }
  });
}

function parentOf(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
  return Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]);
}

function descendants(pid: number): number[] {
  try {
    const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'latin1').trim().split(' ').filter(Boolean);
    return children.flatMap((child) => [...descendants(Number(child)), Number(child)]);
  } catch {
    return [];
  }
}

export function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // it has ended
  }
}

function ran(program: string, ...args: string[]): void {
  const { status, stderr, error } = spawnSync(program, args, { encoding: 'utf8' });
  if (status !== 0) throw new Error(`${program}: ${error?.message ?? stderr}`);
}
