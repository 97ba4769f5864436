#!/usr/bin/env node
// The command. Everything is in dist/; a clone has that once it has been set up.
import { existsSync } from 'node:fs';

const compiled = new URL('../dist/cli/main.js', import.meta.url);
if (existsSync(compiled)) {
  const { main } = await import(compiled.href);
  await main(process.argv.slice(2));
} else {
  process.stderr.on('error', () => undefined); // a full or closed stderr changes no exit code
  process.stderr.write('error: This clone of diffmine is not set up yet.\nhint: Run `npm run setup`.\n');
  process.exitCode = 4;
}
