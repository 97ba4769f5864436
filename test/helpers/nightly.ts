// What takes too long for every change runs in `npm run test:all` (docs/contributing/testing.md lists it).

export const isNightly = process.env['DIFFMINE_TEST_ALL'] === '1';

/** `test` in `npm run test:all`, else `test.skip`. */
export const nightlyTest = isNightly ? test : test.skip;

/** How many inputs a property is tried with: `nightly` of them in `npm run test:all`, a quarter for every change. */
export const runs = (nightly: number): number => (isNightly ? nightly : Math.ceil(nightly / 4));
