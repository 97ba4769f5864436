// Asynchronous work on many items, a few at a time.

/** Calls `work` for every item, `limit` of them at once. The first failure is thrown after those under way have ended. */
export async function together<T>(items: readonly T[], work: (item: T) => Promise<void>, limit = 16): Promise<void> {
  let next = 0;
  let failed = false;
  const lane = async (): Promise<void> => {
    while (next < items.length && !failed) {
      const item = items[next] as T;
      next += 1;
      try {
        await work(item);
      } catch (error) {
        failed = true;
        throw error;
      }
    }
  };
  const lanes = await Promise.allSettled(Array.from({ length: Math.min(limit, items.length) }, lane));
  for (const outcome of lanes) if (outcome.status === 'rejected') throw outcome.reason;
}
