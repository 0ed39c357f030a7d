// Bundles the tests, which are TypeScript, and has node run them: there is no test framework beside node's own.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { build } from 'esbuild';

const dir = mkdtempSync(join(tmpdir(), 'yagura-console-'));
try {
  const outfile = join(dir, 'logic.test.mjs');
  await build({ entryPoints: ['src/logic.test.ts'], bundle: true, platform: 'node', format: 'esm', target: 'node18', outfile, logLevel: 'error' });
  process.exitCode = spawnSync(process.execPath, ['--test', outfile], { stdio: 'inherit' }).status ?? 1;
} finally {
  rmSync(dir, { recursive: true, force: true });
}
