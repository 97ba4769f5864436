// #region engine
import { fillPrompt, openModel, prepareConditions, readImage } from 'diffmine';
import { Engine, float32 } from 'diffmine/engine';

/** Typicality map of one image: F32 [h, w] in latent cells, positive where the label helps the model to denoise. */
export async function typicalityMap(file: string, label: string): Promise<Float32Array> {
  const model = await openModel('sd15');
  const engine = new Engine({ device: 'cpu', dtype: 'bf16' });
  try {
    await engine.loadModel(model.source);
    const prompts = [fillPrompt('A photo from the {label}s.', label), 'A photo.'];
    const conditions = await prepareConditions(engine, model, prompts);
    const image = await readImage(file, {
      size: model.sampleSize,
      rule: 'floor',
      multiple: model.sizeMultiple,
      patch: 64,
    });
    const { outputs } = await engine.scoreTypicality(
      conditions,
      {
        images: [image],
        conditions: [[0, 1]], // of each image: rows of `prompts`
        subjects: [[0]], // of each map: the condition whose loss is compared
        weights: [[[0, 1]]], // of each map: weights of all conditions, with whose loss it is compared
        keys: [0], // of each image: which patches its random ones are
      },
      {
        samples: 20,
        seed: 0,
        tBegin: 100,
        tEnd: 700,
        sampler: 'stratified',
        patch: 64,
        perImage: 5,
        batch: 8,
        keepMaps: true,
      },
    );
    const map = outputs[0]?.[0]?.map;
    return map ? float32(map) : new Float32Array();
  } finally {
    await engine.dispose();
  }
}
// #endregion

const map = await typicalityMap('photos/1920/1920_1.png', '1920');
console.log(JSON.stringify({ cells: map.length, finite: map.every(Number.isFinite) }));
