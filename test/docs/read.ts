// #region read
import { openDataset, Run, type MinedPatchRow } from 'diffmine';

export async function best(run: string, label: string): Promise<MinedPatchRow[]> {
  const opened = await Run.open(run);
  const { images } = await openDataset(opened.manifest.dataset.path);
  console.error(images.length, 'images');
  const patches: MinedPatchRow[] = [];
  for await (const patch of opened.patches({ label, list: 'top', limit: 10 })) patches.push(patch);
  return patches;
}
// #endregion

const patches = await best('../mine/run', '1950');
console.log(JSON.stringify(patches.map(({ label, list, rank }) => [label, list, rank])));
