// The stage "cases" of npm test: test/cases/*.sh, as many at a time as there are cores.
// Their commands run in one process for each lane (test/support/hosted.mjs), which test/cases/lib.sh reaches by a socket: starting Node and loading
// LibTorch for each command would take most of the time.
import fs from 'node:fs';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { Host } from '../test/support/hosted.mjs';
import { root, run } from './steps.mjs';

const folder = path.join(root, 'test/cases');
const environment = { OMP_NUM_THREADS: '1', GOMP_SPINCOUNT: '1000', ...process.env };

/** A request of lib.sh: the folder, the number of arguments, these, and NAME=VALUE for every variable, all ended by a zero byte; an empty one ends it. */
function parse(text) {
  const parts = text.split('\0');
  const [cwd, count] = parts;
  const variables = 2 + Number(count);
  const end = parts.indexOf('', variables);
  if (count === undefined || end < 0 || end === parts.length - 1) return undefined; // not all of it yet
  const env = Object.fromEntries(
    parts.slice(variables, end).map((one) => [one.slice(0, one.indexOf('=')), one.slice(one.indexOf('=') + 1)]),
  );
  return { args: parts.slice(2, variables), cwd, env };
}

/** @returns a server that runs each command in the host, writes its output to the folder's .stdout and .stderr, and answers with its exit code */
function serve(host) {
  const server = net.createServer((socket) => {
    let text = '';
    socket.setEncoding('utf8').on('data', async (chunk) => {
      text += chunk;
      const asked = parse(text);
      if (!asked) return;
      const { code, signal, stdout, stderr } = await host.run(asked.args, asked);
      fs.writeFileSync(path.join(asked.cwd, '.stdout'), stdout);
      fs.writeFileSync(path.join(asked.cwd, '.stderr'), stderr);
      socket.end(`${code ?? 128 + os.constants.signals[signal]}\n`);
    });
    socket.on('error', () => undefined); // the case has ended
  });
  return new Promise((resolve) => server.listen(0, '127.0.0.1', () => resolve(server)));
}

/** Runs all cases. @param ended called with the exit code and the last lines of each: 0 as expected, 2 cannot be tried here */
export async function runCases(lanes, ended) {
  const nightly = process.env.DIFFMINE_TEST_ALL === '1';
  const waiting = fs
    .readdirSync(folder)
    .filter((name) => /^\d+-.*\.sh$/.test(name))
    .filter((name) => nightly || !/^# Nightly: /m.test(fs.readFileSync(path.join(folder, name), 'utf8')));
  const lane = async () => {
    const host = new Host(root);
    const server = await serve(host);
    const env = { ...environment, DIFFMINE_CASES_PORT: String(server.address().port) };
    for (let name = waiting.shift(); name; name = waiting.shift()) {
      const { code, output } = await run('bash', [path.join(folder, name), root], { timeout: 300_000, env });
      ended(name, code, output.trimEnd().split('\n').slice(-5).join('\n'));
    }
    server.close();
    host.close();
  };
  await Promise.all(Array.from({ length: lanes }, lane));
}
