// Seeded random numbers in plain TypeScript (sfc32), the same on every machine, with one stream per name.

/** The 128-bit state of a stream: cyrb128 of its name. */
function stateOf(name: string): [number, number, number, number] {
  let [a, b, c, d] = [1779033703, 3144134277, 1013904242, 2773480762];
  for (let i = 0; i < name.length; i++) {
    const code = name.charCodeAt(i);
    a = b ^ Math.imul(a ^ code, 597399067);
    b = c ^ Math.imul(b ^ code, 2869860233);
    c = d ^ Math.imul(c ^ code, 951274213);
    d = a ^ Math.imul(d ^ code, 2716044179);
  }
  a = Math.imul(c ^ (a >>> 18), 597399067);
  b = Math.imul(d ^ (b >>> 22), 2869860233);
  c = Math.imul(a ^ (c >>> 17), 951274213);
  d = Math.imul(b ^ (d >>> 19), 2716044179);
  return [a ^ b ^ c ^ d, b ^ a, c ^ a, d ^ a];
}

export class Random {
  private a: number;
  private b: number;
  private c: number;
  private d: number;

  /** @param name names the stream: streams of different names are independent, equal names give equal numbers */
  constructor(...name: (string | number)[]) {
    [this.a, this.b, this.c, this.d] = stateOf(name.join('/'));
    for (let i = 0; i < 15; i++) this.next();
  }

  /** uniform in [0, 1) */
  next(): number {
    const t = (((this.a + this.b) | 0) + this.d) | 0;
    this.d = (this.d + 1) | 0;
    this.a = this.b ^ (this.b >>> 9);
    this.b = (this.c + (this.c << 3)) | 0;
    this.c = (this.c << 21) | (this.c >>> 11);
    this.c = (this.c + t) | 0;
    return (t >>> 0) / 2 ** 32;
  }

  /** uniform in [low, high) */
  between(low: number, high: number): number {
    return low + (high - low) * this.next();
  }

  /** true with probability `share` */
  chance(fraction: number): boolean {
    return this.next() < fraction;
  }

  /** whole, low ... high inclusive */
  whole(low: number, high: number): number {
    return low + Math.floor((high - low + 1) * this.next());
  }

  pick<T>(from: readonly T[]): T {
    return from[Math.floor(from.length * this.next())] as T;
  }

  /** roughly normal with mean 0 and deviation 1: the sum of four uniform numbers, which no library's logarithm can change */
  normal(): number {
    return (this.next() + this.next() + this.next() + this.next() - 2) * Math.sqrt(3);
  }
}
