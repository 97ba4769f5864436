// Metrics of a worker in the text format of Prometheus, on a port of its own.
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { DiffmineError } from '../../util/errors.js';
import type { EngineMemory } from '../schedule.js';
import type { Depth } from './jobs.js';
import type { DeviceWorkerEvent } from './device-worker.js';
import { within } from './device-worker.js';

/** How long the queue may take to say how full it is, ms. */
const ASKING = 2000;

type Labels = Readonly<Record<string, string>>;
type Kind = 'counter' | 'gauge';

const escape = (value: string): string => value.replace(/[\\"\n]/g, (one) => (one === '\n' ? '\\n' : `\\${one}`));

/** Values by their labels. */
class Family {
  private readonly values = new Map<string, number>();

  constructor(
    private readonly name: string,
    private readonly kind: Kind,
    private readonly help: string,
  ) {}

  private key(labels: Labels): string {
    const pairs = Object.entries(labels).map(([name, value]) => `${name}="${escape(value)}"`);
    return pairs.length === 0 ? '' : `{${pairs.join(',')}}`;
  }

  set(value: number, labels: Labels = {}): void {
    this.values.set(this.key(labels), value);
  }

  add(value: number, labels: Labels = {}): void {
    const key = this.key(labels);
    this.values.set(key, (this.values.get(key) ?? 0) + value);
  }

  clear(): void {
    this.values.clear();
  }

  toString(): string {
    return [
      `# HELP ${this.name} ${this.help}`,
      `# TYPE ${this.name} ${this.kind}`,
      ...[...this.values].map(([labels, value]) => `${this.name}${labels} ${value}`),
      '',
    ].join('\n');
  }
}

export class Metrics {
  private readonly calls = new Family(
    'diffmine_unet_calls_total',
    'counter',
    'UNet calls, those of repeated shards too.',
  );
  private readonly images = new Family('diffmine_images_total', 'counter', 'Images finished or skipped.');
  private readonly shards = new Family('diffmine_shards_total', 'counter', 'Shards by what became of them.');
  private readonly seconds = new Family(
    'diffmine_shard_seconds_total',
    'counter',
    'Seconds of work on finished shards.',
  );
  private readonly waits = new Family(
    'diffmine_engine_wait_seconds_total',
    'counter',
    'Seconds of work on finished shards in which the engine had nothing to do.',
  );
  private readonly bytes = new Family(
    'diffmine_device_memory_bytes',
    'gauge',
    'Memory of the device, after the last shard.',
  );
  private readonly depth = new Family('diffmine_queue_jobs', 'gauge', 'Jobs in the queue, of all runs.');
  private server: Server | undefined;

  /** @param depthOf asks the queue */
  constructor(private readonly depthOf: () => Promise<Depth>) {
    this.calls.add(0);
    for (const outcome of ['scored', 'skipped']) this.images.add(0, { outcome });
  }

  unetCalls(calls: number): void {
    if (calls > 0) this.calls.add(calls); // what is taken back was made all the same
  }

  image(skipped: boolean): void {
    this.images.add(1, { outcome: skipped ? 'skipped' : 'scored' });
  }

  event(event: DeviceWorkerEvent): void {
    const { device, type } = event;
    const outcome =
      type === 'done' ? event.outcome : type === 'failed' ? (event.final ? 'failed' : 'to be tried again') : type;
    this.shards.add(1, { device, outcome });
    if (type === 'done') this.seconds.add(event.seconds, { stage: event.stage, device });
  }

  waited(device: string, seconds: number): void {
    this.waits.add(seconds, { device });
  }

  memory(device: string, { weights, available, peak, cached }: EngineMemory): void {
    for (const [kind, value] of Object.entries({ weights, available, peak, cached }))
      this.bytes.set(value, { device, kind });
  }

  async text(): Promise<string> {
    this.depth.clear(); // of a server that is away nothing is known
    await within(
      ASKING,
      this.depthOf().then((depth) => {
        for (const [state, jobs] of Object.entries(depth)) this.depth.set(jobs as number, { state });
      }),
    );
    return [this.calls, this.images, this.shards, this.seconds, this.waits, this.bytes, this.depth].join('');
  }

  /**
   * @returns the port
   * @throws IO where it is taken
   */
  async listen(port: number): Promise<number> {
    const server = createServer((request, response) => {
      if (request.url?.split('?')[0] !== '/metrics') {
        response.writeHead(404).end();
        return;
      }
      void this.text().then((text) =>
        response.writeHead(200, { 'Content-Type': 'text/plain; version=0.0.4; charset=utf-8' }).end(text),
      );
    });
    await new Promise<void>((resolve, reject) => {
      server.once('error', (cause) =>
        reject(
          new DiffmineError(
            'IO',
            `Port ${port} of \`metrics\` cannot be used: ${cause.message}.`,
            'Give another port.',
            {
              cause,
            },
          ),
        ),
      );
      server.listen(port, resolve);
    });
    this.server = server;
    return (server.address() as AddressInfo).port;
  }

  close(): void {
    this.server?.closeAllConnections();
    this.server?.close();
  }
}
