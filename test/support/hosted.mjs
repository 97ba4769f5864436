// One process that runs one command line after another (command-host.mjs): for tests of what a command does, not of how its process starts and ends.
import { fork } from 'node:child_process';
import path from 'node:path';

/** Ends what a command has written to a stream; no command writes it. */
const END = '\0end of command\0';

export class Host {
  #root;
  #child;
  /** whether a command is under way */
  busy = false;

  /** @param {string} root the clone whose dist/ runs */
  constructor(root) {
    this.#root = root;
  }

  /**
   * Runs `diffmine ...args`, one at a time.
   * @param {string[]} args
   * @param {{ env?: Record<string, string | undefined>, cwd?: string | undefined }} options env: besides the process's own
   * @returns {Promise<{ code: number | null, signal: NodeJS.Signals | null, stdout: string, stderr: string }>}
   */
  run(args, { env = {}, cwd = this.#root } = {}) {
    const child = (this.#child ??= this.#start());
    this.busy = true;
    const written = { stdout: '', stderr: '' };
    return new Promise((resolve, reject) => {
      let code = null;
      let waiting = 3; // for the exit code and the end of both streams
      const ended = () => {
        waiting -= 1;
        if (waiting === 0) finish({ code, signal: null });
      };
      const take = (name) => {
        const listen = (text) => {
          written[name] += text;
          if (written[name].endsWith(END)) ended();
        };
        child[name].on('data', listen);
        return () => child[name].off('data', listen);
      };
      const onMessage = (message) => {
        code = message.code;
        ended();
      };
      const onClose = (status, signal) => finish({ code: status, signal });
      const release = [take('stdout'), take('stderr')];
      child.ref(); // the next command may be none: between them it keeps nobody waiting
      child.on('message', onMessage).on('close', onClose).on('error', reject);
      child.send({ args, cwd, env: { ...process.env, ...env }, end: END });
      const finish = (how) => {
        child.off('message', onMessage).off('close', onClose).off('error', reject);
        release.forEach((off) => off());
        child.unref();
        this.busy = false;
        const [stdout, stderr] = ['stdout', 'stderr'].map((name) => written[name].replace(END, ''));
        resolve({ ...how, stdout, stderr });
      };
    });
  }

  close() {
    this.#child?.disconnect();
    this.#child = undefined;
  }

  #start() {
    const file = path.join(this.#root, 'test', 'support', 'command-host.mjs');
    const child = fork(file, { cwd: this.#root, stdio: ['ignore', 'pipe', 'pipe', 'ipc'] });
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8');
      stream.unref();
    }
    child.channel.unref();
    child.on('exit', () => this.#child === child && (this.#child = undefined));
    return child;
  }
}
