// Loads the addon: the first candidate that a process of its own could load. Every failure is kept for the error.
import { existsSync } from 'node:fs';

import { fixes, load, probeOnce } from '../../scripts/addon.mjs';
import { asDiffmineError, DiffmineError } from '../util/errors.js';
import { addonCandidates, candidates } from './locate.js';
import type { Candidate } from './locate.js';
import type { Addon } from './types.js';

let loaded: Addon | undefined;

/**
 * The addon, loaded at the first call.
 *
 * @throws SETUP if there is none, if none can be loaded, or if it finds another LibTorch than it was compiled for
 */
export function loadAddon(): Addon {
  return (loaded ??= loadFirst());
}

let spinCountIsOurs = false;

/** The environment for programs that diffmine is compared with: without the variables set below for its own threads. */
export function foreignEnvironment(): NodeJS.ProcessEnv {
  const copy = { ...process.env };
  if (spinCountIsOurs) delete copy.GOMP_SPINCOUNT;
  return copy;
}

function loadFirst(): Addon {
  const present = candidates().filter(({ addon }) => existsSync(addon));
  if (present.length === 0)
    throw new DiffmineError('SETUP', `There is no native addon (looked for ${addonCandidates().join(', ')}).`, fixes());
  // libgomp reads its environment when it is loaded. By default its threads spin for milliseconds at every barrier: on a machine
  // with other work (decoding, a second process) a scan of small images took ten times as long; see docs/explanation/performance.md.
  if (process.env.OMP_WAIT_POLICY === undefined && process.env.GOMP_SPINCOUNT === undefined) {
    process.env.GOMP_SPINCOUNT = '1000';
    spinCountIsOurs = true;
  }
  const failures: { addon: string; reason: string }[] = [];
  const told = (): string[] => failures.map(({ addon, reason }) => `${addon} cannot be loaded: ${reason}`);
  for (const candidate of present) {
    try {
      const addon = loadOne(candidate);
      // Another addon may lack what this one had, such as CUDA.
      if (failures.length > 0) process.emitWarning(`diffmine uses ${candidate.addon}: ${told().join('; ')}`);
      return addon;
    } catch (thrown) {
      failures.push({ addon: candidate.addon, reason: asDiffmineError(thrown).message });
    }
  }
  throw new DiffmineError('SETUP', `The native addon ${told().join('.\nThe native addon ')}.`, fixes({ failures }));
}

function loadOne(candidate: Candidate): Addon {
  const tried = probeOnce(candidate);
  if (tried && 'reason' in tried) throw new Error(tried.reason);
  return load(candidate) as Addon;
}
