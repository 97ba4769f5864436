import { mine, scan } from 'diffmine';

// the model of the tests is random, and bf16 does change what it finds: both are in fp32
for (const out of ['run-fp32', 'run-bf16']) {
  await scan({ dataset: 'photos', model: 'tuned', out, prompt: '{label}', samples: 4, dtype: 'fp32', device: 'cpu' });
  await mine({ run: out, clusters: 1 });
}

// #region compare
import { compare } from 'diffmine';

const { mean } = await compare({ run: 'run-fp32', other: 'run-bf16', at: [10], out: 'agreement' });
const fraction = mean.overlap[0]?.fraction ?? null; // null: there are labels with fewer patches
if (fraction === null || fraction < 0.9) throw new Error('bf16 changes the findings, or there are too few');
// #endregion

console.log(JSON.stringify(mean.overlap));
