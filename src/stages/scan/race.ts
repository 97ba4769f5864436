// A scan that races: every image gets a few samples, then those that may still reach the top K of their label get more, until the survivors have all N.
// What an image scores after n samples is what a scan with these n samples says; a survivor's score is that of a scan without racing.
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { readSafetensors, writeSafetensors } from '../../engine/index.js';
import { concatenate, stack } from '../../engine/join.js';
import type { Tensor, TypicalityOutput } from '../../engine/types.js';
import type { Round, Rounds, ShardContext, ShardCounts } from '../../pipeline/stage.js';
import type { RaceOptions } from '../../runs/manifest.js';
import { DIFFERENCES, ROUND_MAPS, RoundsFolder, type RoundFolder, type RoundResult } from '../../runs/rounds.js';
import { DiffmineError } from '../../util/errors.js';
import { count, whole } from '../../web/html.js';
import { unetCallsOf } from './contrasts.js';
import { cutOf, recordOf, type Known } from './race-cuts.js';
import { controlsOf } from './race-rule.js';
import { imagesAt, scoreImages, type Scoring } from './shard.js';
import { collect, writeShard, type Outcome, type Scored } from './write-shard.js';

type Found = Extract<RoundResult, { outputs: unknown }>;

export class Race implements Rounds {
  private readonly folder: RoundsFolder;
  private readonly opened = new Map<number, Promise<RoundFolder>>();
  private chosen: ReadonlySet<number> | undefined;

  constructor(
    private readonly known: Known,
    private readonly options: RaceOptions,
  ) {
    this.folder = new RoundsFolder(known.run);
  }

  get count(): number {
    return this.options.ends.length;
  }

  /** Samples [begin, end) that a round adds. */
  private samplesOf(round: number): [begin: number, end: number] {
    return [this.options.ends[round - 1] ?? 0, this.options.ends[round] as number];
  }

  private perSample(place: number): number {
    return unetCallsOf(this.known.contrasts, [{ label: this.known.images.label(place) }]);
  }

  /** Images that get all samples whatever they score. */
  private get controls(): ReadonlySet<number> {
    const { run, images } = this.known;
    this.chosen ??= controlsOf(images, this.options.controls, run.manifest.options.seed);
    return this.chosen;
  }

  async begun(): Promise<boolean> {
    return this.folder.hasBegun();
  }

  async current(): Promise<number> {
    if (await this.folder.isOver()) return this.count;
    for (let round = 0; round < this.count; round += 1) if (!(await this.folder.cut(round))) return round;
    return this.count;
  }

  /** The images of a round. */
  private async round(round: number): Promise<RoundFolder> {
    let opening = this.opened.get(round);
    if (!opening) {
      opening = this.places(round).then(async (places) => this.folder.open(round, places));
      this.opened.set(round, opening);
      opening.catch(() => this.opened.delete(round));
    }
    return opening;
  }

  private async places(round: number): Promise<readonly number[]> {
    if (round === 0) return Array.from({ length: this.known.run.manifest.index.rows }, (_, place) => place);
    const cut = await this.folder.cut(round - 1);
    if (cut) return cut.places;
    if (await this.folder.isOver()) return [];
    throw new DiffmineError('INTERNAL', `Round ${round + 1} of ${this.known.run.place} has not begun.`);
  }

  async open(index: number): Promise<Round> {
    const folder = await this.round(index);
    const [begin, end] = this.samplesOf(index);
    const calls = (places: readonly number[]): number => places.reduce((sum, place) => sum + this.perSample(place), 0);
    return {
      name: `round ${index + 1} of ${this.count}`,
      folder,
      unetCalls: (shard) => (end - begin) * calls(folder.shardPlaces(shard)),
      unetCallsAfter: ((this.options.ends.at(-1) ?? end) - end) * calls(folder.places),
      countsOf: async (shard) => {
        if (await this.folder.isOver()) return { done: folder.shardLength(shard), skipped: 0 };
        const { images: done, skipped } = await folder.readRecord(shard);
        return { done, skipped };
      },
    };
  }

  /** Scores a shard of a round. */
  async score(scoring: Scoring, index: number, shard: number, context: ShardContext): Promise<ShardCounts> {
    const round = await this.round(index);
    const places = round.shardPlaces(shard);
    const last = index === this.count - 1;
    const before = index === 0 ? undefined : await this.readBefore(index - 1, places);
    const outcome = await scoreImages(
      { ...scoring, ...context },
      {
        places,
        samples: this.samplesOf(index),
        keepDifferences: !last,
        ...(before ? { earlier: (indexes) => stack(indexes.map((i) => before.differences[i] as Tensor)) } : {}),
      },
      (_, { sourceWidth, sourceHeight, width, height, resized }, found) => ({
        ...found,
        source: { width: sourceWidth, height: sourceHeight },
        resized: { width: resized.width, height: resized.height },
        scored: { width, height },
      }),
    );
    const results = outcome.images.map((image, i): RoundResult => {
      const sha256 = outcome.contents[i] ?? null;
      const place = places[i] as number;
      const reason = outcome.reasons.get(i);
      if (reason !== undefined) return { place, sha256, reason };
      if (before && before.contents[i] !== sha256)
        throw new DiffmineError(
          'RUN_MISMATCH',
          `${image.path} has changed since this run worked on it.`,
          'Restore what was there, or give --out another folder.',
        );
      const { source, resized, scored, outputs } = outcome.scored.get(i) as Found;
      return {
        place,
        sha256,
        source,
        resized,
        scored,
        outputs: outputs.map(({ mean, top, bottom, random }) => ({ mean, top, bottom, random })),
      };
    });
    const skipped = outcome.reasons.size;
    const record = {
      id: shard,
      images: places.length - skipped,
      skipped,
      batch: context.batch,
      notes: [...context.notes],
    };
    await round.writeShard(shard, record, results, async (folder) => {
      const maps: Record<string, Tensor> = {};
      const differences: Record<string, Tensor> = {};
      for (const [i, found] of outcome.scored) {
        const place = places[i] as number;
        found.outputs.forEach(({ map }: TypicalityOutput, m) => {
          if (map) maps[`${place}.${m}`] = map;
        });
        if (found.differences)
          differences[place] = before
            ? concatenate([before.differences[i] as Tensor, found.differences])
            : found.differences;
      }
      if (scoring.run.manifest.options.maps) writeSafetensors(join(folder, ROUND_MAPS), maps);
      if (!last) writeSafetensors(join(folder, DIFFERENCES), differences);
      await writeFile(join(folder, 'skipped.jsonl'), '');
    });
    return { done: places.length - skipped, skipped };
  }

  /** What the round before found of images that continued: each sample's differences, and the content of their files. */
  private async readBefore(
    index: number,
    places: readonly number[],
  ): Promise<{ differences: Tensor[]; contents: (string | null)[] }> {
    const round = await this.round(index);
    const differences = new Map<number, Tensor>();
    const contents = new Map<number, string | null>();
    for (const shard of new Set(places.map((place) => round.shardOf(place) as number))) {
      const own = places.filter((place) => round.shardOf(place) === shard);
      await round.fetchShard(shard, [DIFFERENCES]);
      const tensors = readSafetensors(join(round.shardPath(shard), DIFFERENCES), own.map(String));
      for (const place of own) differences.set(place, tensors[place] as Tensor);
      for (const { place, sha256 } of await round.readResults(shard)) contents.set(place, sha256);
    }
    return {
      differences: places.map((place) => differences.get(place) as Tensor),
      contents: places.map((place) => contents.get(place) ?? null),
    };
  }

  async close(index: number): Promise<string | undefined> {
    if ((await this.folder.isOver()) || (await this.folder.cut(index))) return undefined;
    const cut = await cutOf(await this.round(index), index, this.known, this.options, this.controls);
    await this.folder.writeCut(cut);
    if (index > 0) await (await this.round(index - 1)).discardDifferences();
    if (index === this.count - 1) return undefined;
    const { places } = await this.round(index);
    return (
      `Round ${index + 1} of ${this.count} is finished: ${whole(cut.places.length)} of ${count(places.length, 'image')} ` +
      `continue after ${cut.samples} of ${this.options.ends.at(-1)} samples.`
    );
  }

  /** Writes a shard of the run from what the rounds found of its images. */
  async assemble(shard: number, { batch, notes, meter }: ShardContext): Promise<ShardCounts> {
    const { run, contrasts } = this.known;
    const [begin, end] = run.shardRange(shard);
    const places = Array.from({ length: end - begin }, (_, index) => begin + index);
    const images = await imagesAt(this.known, places);
    const scored = new Map<number, Scored>();
    const reasons = new Map<number, string>();
    const contents: (string | null)[] = [];
    const read = new Map<string, Promise<Map<number, RoundResult>>>();
    const told = { batch, notes: new Set(notes) };
    for (const [index, place] of places.entries()) {
      const { round, samples, of } = await this.lastOf(place);
      const path = round.shardPath(of);
      let reading = read.get(path);
      if (!reading) {
        const record = await round.readRecord(of);
        if (run.manifest.options.maps) await round.fetchShard(of, [ROUND_MAPS]);
        told.batch = Math.min(told.batch, record.batch);
        for (const note of record.notes) told.notes.add(note);
        reading = round.readResults(of).then((all) => new Map(all.map((result) => [result.place, result])));
        read.set(path, reading);
      }
      const result = (await reading).get(place);
      const image = images[index];
      const contrast = image && contrasts.of(image.label);
      if (!result || !contrast) throw new DiffmineError('INTERNAL', `The rounds of ${run.place} lack image ${place}.`);
      contents.push(result.sha256);
      meter.image(image.path);
      if (!('outputs' in result)) {
        reasons.set(index, result.reason);
        continue;
      }
      const maps = run.manifest.options.maps
        ? readSafetensors(
            join(path, ROUND_MAPS),
            result.outputs.map((_, m) => `${place}.${m}`),
          )
        : {};
      const outputs = result.outputs.map((output, m): TypicalityOutput => {
        const map = maps[`${place}.${m}`];
        // random patches are a control, which has to be of images that no score has chosen
        return { ...output, random: this.controls.has(place) ? output.random : [], ...(map ? { map } : {}) };
      });
      const { source, resized, scored: size } = result;
      const decoded = { sourceWidth: source.width, sourceHeight: source.height, ...size, resized };
      scored.set(index, collect({ run }, { image, contrast }, decoded, outputs, samples));
    }
    const outcome: Outcome<Scored> = { images, scored, reasons, contents };
    return writeShard(run, shard, outcome, { batch: told.batch, notes: [...told.notes] });
  }

  /** The last round that an image was in. */
  private async lastOf(place: number): Promise<{ round: RoundFolder; samples: number; of: number }> {
    for (let index = this.count - 1; index >= 0; index -= 1) {
      const round = await this.round(index);
      const of = round.shardOf(place);
      if (of !== undefined) return { round, samples: this.samplesOf(index)[1], of };
    }
    throw new DiffmineError('INTERNAL', `Image ${place} was in no round.`);
  }

  async finish(): Promise<void> {
    if (await this.folder.isOver()) return this.folder.clear(); // one that looked too late may have made a folder again
    const cuts = await Promise.all(this.options.ends.map(async (_, round) => this.folder.cut(round)));
    await this.folder.finish(await recordOf(this.known, this.options, cuts));
  }
}
