// A curve as SVG, drawn ahead of time. Heights are in px, widths in % of what the screen has: lines stretch, letters and points do not.
import { lowest, rangeOf, reduce, smooth, stepTicks } from './curves.js';
import { count, html, raw, short, whole, type Markup } from '../../../web/html.js';
import type { Series } from './metrics.js';

/** Points of a curve on the page. */
export const POINTS = 2000;
/** Points up to which each has a mark. */
const MARKED = 120;
/** Units across a drawing: finer than a screen's pixels. */
const ACROSS = 4000;

export interface ChartOptions {
  key: string;
  title: string;
  /** px */
  height: number;
  /** pale values and a strong smoothed curve */
  smoothed?: boolean;
  /** marks the lowest value */
  best?: boolean;
  /** of the whole training: all charts share it */
  last: number;
}

/** What the page's script needs to read values off a chart. */
export interface ChartData {
  last: number;
  height: number;
  low: number;
  high: number;
  steps: number[];
  values: (number | null)[];
  smooth?: (number | null)[];
}

export function drawChart(series: Series, options: ChartOptions): { markup: Markup; data: ChartData } {
  const { key, title, height, last } = options;
  const best = options.best ? lowest(series.values) : -1;
  const width = Math.min(2000, Math.max(2, series.values.length / 40));
  const soft = options.smoothed ? smooth(series.values, width) : undefined;
  const range = rangeOf(series, best >= 0 ? series.values[best] : undefined);
  const kept = reduce(series.values, POINTS);
  const steps = kept.map((i) => series.steps[i] as number);
  const values = kept.map((i) => series.values[i] as number);
  const softKept = soft && kept.map((i) => soft[i] as number);

  const x = (step: number): number => step / Math.max(1, last);
  const y = (value: number): number => height * (1 - (value - range.low) / (range.high - range.low));
  const percent = (step: number): string => `${Number((100 * x(step)).toFixed(2))}%`;
  const path = (to: readonly number[], look: string): Markup =>
    html`<path class="${look}" d="${line(
      steps.map((step) => x(step) * ACROSS),
      to.map(y),
      height,
    )}"/>`;

  const places = range.ticks.reduce((most, tick) => Math.max(most, (String(tick).split('.')[1] ?? '').length), 0);
  const tickText = (tick: number): string =>
    tick === 0
      ? '0'
      : range.high < 1e-3
        ? tick.toExponential().replace('-', '−')
        : tick >= 1e6
          ? tick.toExponential().replace('+', '')
          : tick.toFixed(places);
  const stepMarks = stepTicks(last);
  const highest = series.values.reduce((most, value) => (value > most ? value : most), -Infinity);
  const outside = highest > range.high * (1 + 1e-9) ? series.values.indexOf(highest) : -1;
  const latest = [...series.values.keys()].reverse().find((i) => !Number.isNaN(series.values[i])) ?? -1;
  const summary = describe(series, soft, best, latest);

  const markup = html`
<section class="chart" data-chart="${key}" aria-labelledby="${key}-title">
  <div class="over"><h3 id="${key}-title">${title}</h3><p class="read" data-rest="${summary}">${summary}</p></div>
  <div class="plot">
    <svg class="scale" height="${height + 30}" aria-hidden="true">${range.ticks.map((tick) => html`<text x="100%" y="${round(y(tick) + 8)}">${tickText(tick)}</text>`)}</svg>
    <div class="field">
      <svg class="drawing" width="100%" height="${height + 30}" role="img" aria-label="${title} by step: ${summary}.">
        <g transform="translate(0 4)">
          ${range.ticks.map((tick) => html`<line class="grid" x1="0" x2="100%" y1="${round(y(tick))}" y2="${round(y(tick))}"/>`)}
          ${stepMarks.map((tick, i) => html`<text class="${i % 2 ? 'tick odd' : 'tick'}${x(tick) < 0.03 ? ' first' : x(tick) > 0.96 ? ' final' : ''}" x="${percent(tick)}" y="${height + 20}">${whole(tick)}</text>`)}
          <svg width="100%" height="${height}" viewBox="0 0 ${ACROSS} ${height}" preserveAspectRatio="none">
            ${softKept ? [path(values, 'curve pale'), path(softKept, 'curve')] : path(values, 'curve')}
          </svg>
          ${values.length <= MARKED && !softKept && key === 'validation' && values.map((value, i) => !Number.isNaN(value) && value <= range.high && html`<circle class="point" cx="${percent(steps[i] as number)}" cy="${round(y(value))}" r="3"/>`)}
          ${best >= 0 && html`<circle class="best" cx="${percent(series.steps[best] as number)}" cy="${round(y(series.values[best] as number))}" r="6"/>`}
        </g>
      </svg>
    </div>
  </div>
  ${outside >= 0 && html`<p class="beyond">Above the chart: up to ${short(highest)}, at step ${whole(series.steps[outside] as number)}.</p>`}
</section>`;
  const stored = (numbers: readonly number[]): (number | null)[] =>
    numbers.map((value) => (Number.isNaN(value) ? null : Number(value.toPrecision(4))));
  return {
    markup,
    data: {
      last,
      height,
      low: range.low,
      high: range.high,
      steps,
      values: stored(values),
      ...(softKept && { smooth: stored(softKept) }),
    },
  };
}

/** A chart's values in words, shown while nothing is pointed at. */
function describe(
  { steps, values }: Series,
  soft: readonly number[] | undefined,
  best: number,
  latest: number,
): string {
  if (latest < 0) return `${count(steps.length, 'value')}, none finite`;
  if (best >= 0) return `best ${short(values[best] as number)} at step ${whole(steps[best] as number)}`;
  return `${short((soft ?? values)[latest] as number)} ${soft ? 'smoothed, ' : ''}at step ${whole(steps[latest] as number)}`;
}

const round = (value: number): number => Number(value.toFixed(1));

/** A path through the points; lifted where a value is missing. Far outside the image points are drawn in: a browser need not know how far. */
function line(xs: readonly number[], ys: readonly number[], height: number): Markup {
  let text = '';
  let down = false;
  for (let i = 0; i < xs.length; i++) {
    const y = ys[i] as number;
    if (Number.isNaN(y)) {
      down = false;
      continue;
    }
    text += `${down ? 'L' : 'M'}${Math.round(xs[i] as number)} ${round(Math.min(3 * height, Math.max(-2 * height, y)))}`;
    down = true;
  }
  return raw(text);
}
