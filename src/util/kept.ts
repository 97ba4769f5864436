// Values that are kept while there is room, the latest ones first.

export class Kept<Key, Value> {
  private readonly entries = new Map<Key, { value: Promise<Value>; bytes: number }>();
  private bytes = 0;

  /** @param room bytes of all that is kept; one larger value is kept alone */
  constructor(
    private readonly room: number,
    private readonly sizeOf: (value: Value) => number,
  ) {}

  /** The value that is kept, else the one that `load` gives; a failure is not kept. */
  async get(key: Key, load: () => Promise<Value>): Promise<Value> {
    const known = this.entries.get(key);
    if (known) {
      this.entries.delete(key);
      this.entries.set(key, known);
      return known.value;
    }
    const entry = { value: load(), bytes: 0 };
    this.entries.set(key, entry);
    try {
      const value = await entry.value;
      entry.bytes = this.sizeOf(value);
      this.bytes += entry.bytes;
      this.drop(key);
      return value;
    } catch (error) {
      this.entries.delete(key);
      throw error;
    }
  }

  /** Drops the oldest values until the others fit. */
  private drop(but: Key): void {
    for (const [key, { bytes }] of this.entries) {
      if (this.bytes <= this.room) return;
      // what is under way has no bytes yet
      if (key === but || bytes === 0) continue;
      this.entries.delete(key);
      this.bytes -= bytes;
    }
  }
}
