// Hooks of long-running functions: signal, progress and log.

/** How much of one step is done. Units of `done` and `total` depend on the step: images, labels, UNet calls, tensors. */
export interface Progress<Type extends string = string> {
  type: Type;
  done: number;
  total: number;
}

/** Second argument of every stage. Events are discriminated by `type`. */
export interface Hooks<Event = Progress> {
  /** cancels the work at the next safe point; the promise then rejects with code CANCELLED */
  signal?: AbortSignal | undefined;
  onProgress?: ((event: Event) => void) | undefined;
  /** called with one sentence at a time: what was chosen, what the work waits for */
  onLog?: ((sentence: string) => void) | undefined;
  /** false: a model of the Hugging Face hub that is not cached is an error, instead of being downloaded */
  download?: false;
}
