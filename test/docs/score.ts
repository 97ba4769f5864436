// #region score
import { Scorer } from 'diffmine';

export async function bestPatch(image: string, label: string): Promise<number | undefined> {
  const prompts = { prompt: 'A photo from the {label}s.', nullPrompt: 'A photo.' };
  const scorer = await Scorer.open({ model: 'tuned', ...prompts, samples: 20 });
  const { map, patches } = await scorer.score(image, { label });
  await scorer.close();
  console.error(map.width, map.height);
  return patches[0]?.typicality;
}
// #endregion

console.log(JSON.stringify({ typicality: await bestPatch('photos/1920/1920_1.png', '1920') }));
