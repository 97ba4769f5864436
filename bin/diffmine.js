#!/usr/bin/env node
// The command. Everything is in dist/; a clone has that once it has been set up.
const { existsSync } = require('node:fs');
const { join } = require('node:path');

const compiled = join(__dirname, '../dist/cli/main.js');
if (existsSync(compiled)) {
  void require(compiled).main(process.argv.slice(2));
} else {
  process.stderr.on('error', () => undefined); // a full or closed stderr changes no exit code
  process.stderr.write('error: This clone of diffmine is not set up yet.\nhint: Run `npm run demo` once, or `node scripts/setup.mjs`.\n');
  process.exitCode = 4;
}
