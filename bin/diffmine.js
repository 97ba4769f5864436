#!/usr/bin/env node
// The command. Everything is in dist/; a clone has that once it has been set up. In syntax that old versions of Node read.
import { existsSync } from 'node:fs';
import { wrongNode } from '../scripts/node-version.mjs';

const compiled = new URL('../dist/cli/main.js', import.meta.url);

function refuse({ message, hint }) {
  process.stderr.on('error', () => undefined); // a full or closed stderr changes no exit code
  process.stderr.write(`error: ${message}\nhint: ${hint}\n`);
  process.exitCode = 4;
}

const wrong = wrongNode();
if (wrong) refuse(wrong);
else if (existsSync(compiled)) void import(compiled.href).then(({ main }) => main(process.argv.slice(2)));
else refuse({ message: 'This clone of diffmine is not set up yet.', hint: 'Run: npm run setup' });
