// --version: of the package, and of the addon's LibTorch if it is built.
import { asDiffmineError } from '../util/errors.js';
import { buildInfo } from '../engine/index.js';
import { VERSION } from '../util/version.js';

export function version(): [text: string, json: unknown] {
  try {
    const { libtorchLoaded, cuda } = buildInfo();
    return [
      `diffmine ${VERSION} (LibTorch ${libtorchLoaded}, ${cuda ? 'CUDA' : 'CPU'})`,
      { version: VERSION, libtorch: libtorchLoaded, cuda },
    ];
  } catch (error) {
    return [
      `diffmine ${VERSION} (native part not available: run diffmine setup)`,
      { version: VERSION, libtorch: null, reason: asDiffmineError(error).message },
    ];
  }
}
