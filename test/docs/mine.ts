// #region mine
import { scan, mine, writeReport } from 'diffmine';

await scan({
  dataset: 'photos',
  model: 'tuned',
  out: 'run',
  prompt: 'A photo from the {label}s.',
  nullPrompt: 'A photo.',
});
await mine({ run: 'run', clusters: 16 });
await writeReport({ run: 'run' });
// #endregion
