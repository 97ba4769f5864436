// Calls of the addon. Its errors are plain objects from another realm: every call maps them to DiffmineError, and code above never sees others.
import { asDiffmineError } from '../util/errors.js';
import { loadAddon } from './load.js';
import type { Addon } from './types.js';

/** A synchronous call of the addon with its errors mapped. */
export function call<T>(use: (addon: Addon) => T): T {
  try {
    return use(loadAddon());
  } catch (thrown) {
    throw asDiffmineError(thrown);
  }
}

/** An asynchronous call of the addon with its errors mapped; never throws. */
export async function callAsync<T>(use: (addon: Addon) => Promise<T>): Promise<T> {
  try {
    return await use(loadAddon());
  } catch (thrown) {
    throw asDiffmineError(thrown);
  }
}
