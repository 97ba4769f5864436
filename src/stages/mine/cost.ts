// What mining costs, told before it begins, and the rate that it is predicted with.
import type { DeviceInfo } from '../../engine/types.js';
import type { Plan } from '../../pipeline/plan.js';
import { knownRate, rateKey, rememberRate } from '../../pipeline/remembered-rates.js';
import type { Manifest } from '../../runs/manifest.js';
import type { MineRecord } from '../../runs/mining.js';
import { count, duration } from '../../web/html.js';

/** Seconds that a rate is measured over, at least, to be remembered. */
const MEASURED = 5;
/** Times shorter than this, s, are not worth telling. */
const SHORT = 1;

/** The forward passes of a mining, and how fast they are on this machine. */
export class FeatureCost {
  private readonly key: string;
  private readonly scan: string;

  /** @param images to take features of, counted for each label that needs them */
  constructor(
    private readonly images: number,
    private readonly options: MineRecord['options'],
    { manifest, device, threads }: { manifest: Manifest; device: DeviceInfo; threads: number | undefined },
  ) {
    const { format, model } = manifest;
    const of = (options: Manifest['options']): string =>
      rateKey({ format, options, model, devices: [device] }, { threads });
    this.scan = of(manifest.options);
    this.key = `mine block${options.upBlock} ${of({ ...manifest.options, batch: options.batch })}`;
  }

  private get passes(): number {
    return this.images * this.options.ensemble;
  }

  /** Forward passes per second, for a plan; the scan's rate is the least. */
  async rate(): Promise<Plan['rate']> {
    const perSecond = (await knownRate(this.key)) ?? (await knownRate(this.scan));
    return perSecond === undefined ? null : { perSecond, from: 'earlier' };
  }

  /** 'about 3 min 10 s'; undefined where no rate is known. A forward pass takes part of a UNet call, so the scan's rate is the least. */
  private async time(): Promise<string | undefined> {
    const known = await knownRate(this.key);
    const rate = known ?? (await knownRate(this.scan));
    if (rate === undefined || this.passes / rate < SHORT) return undefined;
    const text = duration(this.passes / rate);
    return known === undefined
      ? `at most about ${text} at the scan's rate`
      : `about ${text} at the last rate measured here`;
  }

  /** @param several labels are mined */
  async sentence(several: boolean): Promise<string> {
    const time = await this.time();
    const each = `${count(this.options.ensemble, 'forward pass', 'forward passes')} each`;
    return `Features: ${count(this.images, 'image')}${several ? ', counted for each label that needs it' : ''}, ${each} through part of the model${time === undefined ? '' : `, ${time}`}.`;
  }

  /** Remembers the rate of `images` in `seconds`, unless these are too few. */
  async remember(images: number, seconds: number): Promise<void> {
    if (seconds >= MEASURED && images > 0) await rememberRate(this.key, (images * this.options.ensemble) / seconds);
  }
}
