// #region demo
import { demo } from 'diffmine/demo';

const { mean, cities, page } = await demo({ out: 'demo-run', imagesPerLabel: 4, samples: 4 });
for (const { city, elements } of cities) console.log(city, elements.length);
console.log(mean.averagePrecision, page);
// #endregion
