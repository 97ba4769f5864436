// demo --full: more applications of the same model to the same dataset. Images translated across cities, consistent changes between cities,
// and heat maps compared with the planted boxes.
//
//   OUT/translation/     the first images of each city as every other city, with what was measured of it
//   OUT/cotypicality/    places that are typical under every city, grouped
//   OUT/localization/    heat maps against the planted boxes
//   OUT/index.html       links to all of it
import { join } from 'node:path';
import type { z } from 'zod';
import { cotypicality } from '../../stages/cotypicality/cotypicality.js';
import { localize } from '../../stages/localize/localize.js';
import { evaluateTranslation } from '../../stages/translate/quality.js';
import { translate } from '../../stages/translate/translate.js';
import { pick } from '../../util/pick.js';
import type { DEMO, DemoEvent, DemoFull, DemoStage } from './options.js';

/** Each image takes 640 UNet calls of these steps. */
const STEPS = { inversionSteps: 200, inferenceSteps: 50 };
/** What stays typical across cities: a window, a roof, a lamp post, a mailbox, and what the streets share. */
const CLUSTERS = 8;
/** Places grouped in all, for each sequence: as many as it has planted elements. Asked for more, it gives what is typical of no city. */
const GROUPED = 3;
/** Samples per image for a heat map, as a fraction of the scan's: the blur averages as more samples would. */
const LOCALIZED = 0.5;

/** What the demo has resolved for all of its stages. */
export interface FullContext {
  /** the demo's folder */
  out: string;
  model: string;
  variant?: string | undefined;
  /** the world's images and their truth */
  images: string;
  boxes: string;
  seed: number;
  samples: number;
  /** pixels */
  patch: number;
  tRange: readonly [number, number];
  asked: Pick<z.output<typeof DEMO>, 'device' | 'dtype' | 'threads' | 'bootstrap' | 'translatedImages'>;
  signal?: AbortSignal | undefined;
  begin: (stage: DemoStage) => void;
  onProgress: (event: DemoEvent) => void;
  onLog?: ((sentence: string) => void) | undefined;
  /** runs `work` on OUT/name, again where what is there is of a demo with other options */
  inFolder: <T>(name: string, work: (folder: string) => Promise<T>) => Promise<T>;
}

/** Translates, groups and localizes; what is finished is kept. */
export async function runFull(context: FullContext): Promise<DemoFull> {
  const { model, images, boxes, seed, samples, patch, tRange, asked, begin, inFolder } = context;
  const device = { ...pick(context, 'variant'), ...pick(asked, 'device', 'dtype', 'threads') };
  const told = { ...pick(context, 'signal', 'onLog') };
  const onScan = { ...told, onProgress: (event: object): void => progress(context, event) };

  begin('translate');
  const translation = await inFolder('translation', (out) =>
    translate({ dataset: images, model, out, ...STEPS, imagesPerLabel: asked.translatedImages, ...device }, onScan),
  );
  const scoring = { samples, tRange };
  const quality = await evaluateTranslation(
    {
      parallel: translation.path,
      boxes,
      model,
      ...pick(context, 'variant'),
      ...scoring,
      ...pick(asked, 'device', 'threads'),
    },
    {
      ...told,
      onProgress: (event) => context.onProgress({ type: 'progress', event }),
    },
  );

  begin('cotypicality');
  const consistent = await inFolder('cotypicality', (out) =>
    cotypicality(
      {
        parallel: translation.path,
        model,
        out,
        seed,
        patch,
        ...scoring,
        maxPlaces: GROUPED * translation.translated,
        clusters: CLUSTERS,
        boxes,
        ...device,
      },
      onScan,
    ),
  );

  begin('localize');
  const localization = await inFolder('localization', (out) =>
    localize(
      {
        dataset: images,
        model,
        out,
        seed,
        tRange,
        samples: Math.ceil(samples * LOCALIZED),
        boxes,
        ...pick(asked, 'bootstrap'),
        ...device,
      },
      onScan,
    ),
  );
  return {
    translation: { ...translation, quality },
    cotypicality: consistent,
    localization,
    page: join(context.out, 'index.html'),
  };
}

/** Of stages that are made of a scan's events and of their own. */
function progress({ onProgress }: FullContext, event: object): void {
  const { type, done, total } = event as { type: string; done?: number; total?: number };
  if (['load', 'plan', 'shard', 'image', 'unetCalls'].includes(type))
    onProgress({ type: 'scan', event: event as Extract<DemoEvent, { type: 'scan' }>['event'] });
  else if (done !== undefined && total !== undefined) onProgress({ type: 'progress', event: { type, done, total } });
}
