// #region score
import { Scorer } from 'diffmine';

export async function bestPatch(image: string, label: string): Promise<number | undefined> {
  const scorer = await Scorer.open({ model: 'sd15', device: 'auto', samples: 20 });
  const { map, patches } = await scorer.score(image, { label });
  await scorer.close();
  console.error(map.width, map.height);
  return patches[0]?.typicality;
}
// #endregion

console.log(JSON.stringify({ typicality: await bestPatch('photos/1920/1920_1.png', '1920') }));
