// Ctrl-C and SIGTERM: the first asks the work to stop where it can be resumed, the second ends the process at once.

export interface Cancel {
  signal: AbortSignal;
  /** takes the handlers off again */
  release: () => void;
}

/** Handlers of SIGINT and SIGTERM; `onFirst` is told the first one. */
export function cancelOnSignals(onFirst: (name: NodeJS.Signals) => void): Cancel {
  const controller = new AbortController();
  const handle = (name: NodeJS.Signals): void => {
    if (!controller.signal.aborted) {
      onFirst(name);
      controller.abort();
      return;
    }
    // The default action ends the process whatever its threads do; a shell reports 130 (SIGINT) or 143 (SIGTERM).
    release();
    process.kill(process.pid, name);
  };
  const release = (): void => {
    process.removeListener('SIGINT', handle);
    process.removeListener('SIGTERM', handle);
  };
  process.on('SIGINT', handle);
  process.on('SIGTERM', handle);
  return { signal: controller.signal, release };
}
