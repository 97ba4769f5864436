// The peer of the benchmark: diffusers in a Python process, asked for one forward pass at a time, so that both sides are
// timed in turn on the same machine in the same minute.
import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

import { DiffmineError } from '../errors';
import type { Precision } from '../native/types';

export interface PeerInfo {
  torch: string;
  diffusers: string;
  threads: number;
}

const SCRIPT = join(__dirname, '..', '..', 'scripts', 'bench-peer.py');

export class Peer {
  private constructor(
    private readonly child: ChildProcessWithoutNullStreams,
    private readonly lines: AsyncIterator<string>,
    readonly info: PeerInfo,
  ) {}

  /** Starts `python`. Throws SETUP where it lacks torch or diffusers. */
  static async start(python: string, threads: number): Promise<Peer> {
    const child = spawn(python, [SCRIPT, String(threads)], { stdio: 'pipe' });
    child.stderr.resume(); // warnings of the libraries
    child.stdin.on('error', () => undefined); // a dead child is told by the missing answer
    const failed = new Promise<never>((_, reject) => child.once('error', reject));
    const lines = createInterface(child.stdout)[Symbol.asyncIterator]();
    const hint = 'Give --peer a Python that can import torch and diffusers.';
    try {
      const first = await Promise.race([lines.next(), failed]);
      const info = JSON.parse(String(first.value ?? '{"error":"it ended at once"}')) as PeerInfo & { error?: string };
      if (info.error) throw new Error(info.error);
      return new Peer(child, lines, info);
    } catch (error) {
      child.kill();
      throw new DiffmineError('SETUP', `The peer "${python}" does not start: ${error instanceof Error ? error.message : String(error)}.`, hint, { cause: error });
    }
  }

  /** Seconds of one forward pass. */
  async forward(precision: Precision, latent: number, batch: number): Promise<number> {
    this.child.stdin.write(`${JSON.stringify({ precision, latent, batch })}\n`);
    const answer = await this.lines.next();
    if (answer.done) throw new DiffmineError('SETUP', 'The peer ended in the middle of the benchmark.', 'It may have run out of memory.');
    return (JSON.parse(answer.value) as { seconds: number }).seconds;
  }

  stop(): void {
    this.child.kill();
  }
}
