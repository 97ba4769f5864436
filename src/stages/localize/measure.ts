// Figures of a label's maps against boxes or masks, of one model or two on the same images.
import type { Group } from '../../metrics/bootstrap.js';
import { paperAucPr } from '../../metrics/paper.js';
import { points } from '../../metrics/pointing.js';
import { PrecisionCurve, type ScoredPixels } from '../../metrics/precision.js';
import { strength } from '../../web/heatmap.js';
import type { Run } from '../../runs/run.js';
import type { ImageRow } from '../../runs/columns.js';
import type { Engine } from '../../engine/index.js';
import { heatOf } from './heat.js';
import type { Marks } from './marks.js';
import type { MapFigures } from './options.js';

/** An image under a label. */
export interface Entry {
  /** among all images under all labels */
  index: number;
  shard: number;
  row: ImageRow;
}

/** A label's maps of one run. */
export interface Measured {
  /** of the heat maps (web/heatmap.ts) */
  strengths: number[];
  /** of marked images, by entry */
  figures: Map<number, MapFigures<number>>;
  /** fractions of the marked images' pixels that are inside */
  fractions: Map<number, number>;
  /** over the marked images' pixels, in their order */
  marked: number[];
  curve: PrecisionCurve | undefined;
}

/** @param entries of one label */
export async function measure(
  engine: Engine,
  run: Run,
  entries: readonly Entry[],
  marks: Marks | undefined,
  blur: number,
  signal: AbortSignal | undefined,
  onMap: () => void,
): Promise<Measured> {
  const found: Measured = { strengths: [], figures: new Map(), fractions: new Map(), marked: [], curve: undefined };
  const pooled: ScoredPixels[] = [];
  for await (const { item, raw, heat } of heatOf(engine, run, entries, blur, signal)) {
    const { row, index } = item;
    found.strengths.push(strength({ values: heat, width: row.width, height: row.height }));
    const truth = await marks?.inside(row, run.manifest.options);
    if (truth) {
      const pixels = { scores: heat, truth };
      const curve = new PrecisionCurve([pixels]);
      pooled.push(pixels);
      found.marked.push(index);
      found.fractions.set(index, curve.positives / curve.pixels);
      found.figures.set(index, {
        averagePrecision: curve.averagePrecision() as number,
        paperAucPr: paperAucPr({ scores: raw, truth }) as number,
        pointing: points(pixels) ? 1 : 0,
        bestIou: curve.bestIou() as number,
      });
    }
    onMap();
  }
  if (pooled.length > 0) found.curve = new PrecisionCurve(pooled);
  return found;
}

/** In the order that groups give figures in. */
export const FIGURES = [
  'averagePrecision',
  'paperAucPr',
  'pointing',
  'bestIou',
] as const satisfies readonly (keyof MapFigures)[];

/** The figures of a label as what is resampled: those of the model, then of the baseline, then their differences. */
export function groupOf(models: readonly Measured[]): Group {
  return {
    members: models[0]?.marked ?? [],
    measure: (weights) => {
      const rows = models.map((one) => figuresOf(one, weights));
      const [ours, theirs] = rows;
      const less = theirs ? FIGURES.map((_, i) => difference(ours?.[i] ?? null, theirs[i] ?? null)) : [];
      return [...rows.flat(), ...less];
    },
  };
}

const difference = (a: number | null, b: number | null): number | null => (a === null || b === null ? null : a - b);

function figuresOf({ curve, marked, figures }: Measured, weights: Uint32Array | undefined): (number | null)[] {
  const weight = (index: number): number => (weights ? (weights[index] as number) : 1);
  const total = marked.reduce((sum, index) => sum + weight(index), 0);
  return FIGURES.map((name) => {
    if (!curve || total === 0) return null;
    if (name === 'averagePrecision')
      return weights ? curve.resampled(Uint32Array.from(marked, weight)) : curve.averagePrecision();
    return (
      marked.reduce((sum, index) => sum + weight(index) * (figures.get(index) as MapFigures<number>)[name], 0) / total
    );
  });
}
