// #region stages
import { DiffmineError, mine, scan, writeReport } from 'diffmine';

export async function mineCars(signal: AbortSignal): Promise<string> {
  try {
    const scanned = await scan(
      {
        dataset: 'photos',
        model: 'sd15',
        out: 'run',
        prompt: 'A photo from the {label}s.',
        nullPrompt: 'A photo.',
        samples: 50,
      },
      {
        signal,
        onLog: (sentence) => console.error(sentence),
        onProgress: (event) => event.type === 'unetCalls' && console.error(event.done, event.total),
      },
    );
    const mined = await mine({ run: scanned.path, clusters: 16, top: 500 }, { signal });
    for (const { condition, patches, clusters } of mined.conditions) console.error(condition, patches, clusters);
    return (await writeReport({ run: scanned.path }, { signal })).path;
  } catch (error) {
    if (error instanceof DiffmineError && error.code === 'CANCELLED')
      console.error('Stopped; call again to resume.', error.hint);
    throw error;
  }
}
// #endregion

const stopped = await mineCars(AbortSignal.abort()).catch((error: unknown) => (error as DiffmineError).code);
console.log(JSON.stringify({ stopped, path: await mineCars(new AbortController().signal) }));
