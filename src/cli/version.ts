// --version: the package, and the LibTorch of the addon when there is one.
import { asDiffmineError } from '../errors';
import { buildInfo } from '../native/index';
import { VERSION } from '../run/version';

export function version(): [text: string, json: unknown] {
  try {
    const { libtorchLoaded, cuda } = buildInfo();
    return [`diffmine ${VERSION} (LibTorch ${libtorchLoaded}, ${cuda ? 'CUDA' : 'CPU'})`, { version: VERSION, libtorch: libtorchLoaded, cuda }];
  } catch (error) {
    return [`diffmine ${VERSION} (native part not available: run diffmine setup)`, { version: VERSION, libtorch: null, reason: asDiffmineError(error).message }];
  }
}
