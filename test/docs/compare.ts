import { mine, scan } from 'diffmine';

for (const dtype of ['fp32', 'bf16'] as const) {
  const out = `run-${dtype}`;
  await scan({ dataset: 'photos', model: 'tuned', out, prompt: '{label}', samples: 4, dtype, device: 'cpu' });
  await mine({ run: out, clusters: 1 });
}

// #region compare
import { compare } from 'diffmine';

const { mean } = await compare({ run: 'run-fp32', other: 'run-bf16', at: [100], out: 'agreement' });
if ((mean.overlap[0]?.fraction ?? 0) < 0.9) throw new Error('bf16 changes the findings');
// #endregion

console.log(JSON.stringify(mean.overlap));
