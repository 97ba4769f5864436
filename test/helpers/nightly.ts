// What takes too long for every change runs in `npm run test:all` (docs/contributing/testing.md lists it).

export const isNightly = process.env['DIFFMINE_TEST_ALL'] === '1';

/** `test` in `npm run test:all`, else `test.skip`. */
export const nightlyTest = isNightly ? test : test.skip;
