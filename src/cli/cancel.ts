// Ctrl-C and SIGTERM: the first one stops the work so that it can be resumed, the second ends the process at once.

export interface Cancel {
  signal: AbortSignal;
  /** takes the handlers off again */
  release: () => void;
}

/** Handlers of SIGINT and SIGTERM; `onSignal` is told of each, before the second ends the process. */
export function cancelOnSignals(onSignal: (name: NodeJS.Signals, first: boolean) => void): Cancel {
  const controller = new AbortController();
  const handle = (name: NodeJS.Signals): void => {
    const first = !controller.signal.aborted;
    onSignal(name, first);
    if (first) {
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
