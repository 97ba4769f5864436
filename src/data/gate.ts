// Limits concurrent work by total weight instead of by count.

/** At most `capacity` of weight inside; one that is heavier than that enters alone. First come, first served. */
export class Gate {
  private inside = 0;
  private readonly waiting: { weight: number; enter: () => void }[] = [];

  constructor(private readonly capacity: number) {}

  /** Runs `work` once there is room for `weight`. */
  async pass<T>(weight: number, work: () => Promise<T>): Promise<T> {
    await new Promise<void>((enter) => {
      this.waiting.push({ weight, enter });
      this.admit();
    });
    try {
      return await work();
    } finally {
      this.inside -= weight;
      this.admit();
    }
  }

  private admit(): void {
    for (
      let next = this.waiting[0];
      next && (this.inside === 0 || this.inside + next.weight <= this.capacity);
      next = this.waiting[0]
    ) {
      this.waiting.shift();
      this.inside += next.weight;
      next.enter();
    }
  }
}
