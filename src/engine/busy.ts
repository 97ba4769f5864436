// How long something that takes calls has worked.

export class Busy {
  private calls = 0;
  /** when the first of the calls under way began */
  private since = 0;
  private before = 0;

  async during<T>(call: Promise<T>): Promise<T> {
    if (this.calls === 0) this.since = performance.now();
    this.calls += 1;
    try {
      return await call;
    } finally {
      this.calls -= 1;
      if (this.calls === 0) this.before += performance.now() - this.since;
    }
  }

  /** Seconds in which at least one call was under way. */
  seconds(): number {
    return (this.before + (this.calls > 0 ? performance.now() - this.since : 0)) / 1000;
  }
}
