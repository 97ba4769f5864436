// Disks of tests.
import { spawn } from 'node:child_process';
import { Socket } from 'node:net';

/** Unmounts a disk and removes a folder when this process ends, also by kill -9: no mount is left behind. */
export function removeInTheEnd(disk: string, folder: string): void {
  const script = 'cat > /dev/null; while umount -l "$1" 2> /dev/null; do :; done; rm -rf "$2"';
  const waiting = spawn('sh', ['-c', script, 'sh', disk, folder], {
    detached: true,
    stdio: ['pipe', 'ignore', 'ignore'],
  });
  waiting.unref();
  if (waiting.stdin instanceof Socket) waiting.stdin.unref(); // or this process would wait for it
}
