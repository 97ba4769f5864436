// Runs one command line after another in one process, as bin/diffmine.js does once: hosted.mjs asks for each by a message.
import { main } from '../../dist/cli/main.js';

process.on('message', async ({ args, cwd, env, end }) => {
  process.chdir(cwd);
  const before = { ...process.env };
  Object.assign(process.env, env);
  const code = await main(args); // what it throws ends this process, as it would end the command's own
  for (const name of Object.keys(env)) {
    if (name in before) process.env[name] = before[name];
    else delete process.env[name];
  }
  process.exitCode = undefined;
  // On a pipe both are written in order, so that nothing of this command comes after its end.
  process.stdout.write(end);
  process.stderr.write(end);
  process.send({ code });
});
process.on('disconnect', () => process.exit());
