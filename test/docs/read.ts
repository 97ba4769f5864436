// #region read
import { Run, type MinedPatchRow } from 'diffmine';

export async function best(run: string, label: string): Promise<MinedPatchRow[]> {
  const opened = await Run.open(run);
  console.error(opened.manifest.dataset.images, 'images');
  const patches: MinedPatchRow[] = [];
  for await (const patch of opened.patches({ label, list: 'top', limit: 10 })) patches.push(patch);
  return patches;
}
// #endregion

const patches = await best('../mine/run', '1950');
console.log(JSON.stringify(patches.map(({ label, list, rank }) => [label, list, rank])));
