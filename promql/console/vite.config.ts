import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gzipAsync } from '@gfx/zopfli';
import { defineConfig, type Plugin } from 'vite';

// Only compressed files are committed and embedded: the Go handler unpacks them for the rare client that cannot. Zopfli makes them a
// twentieth smaller than zlib does, and the same on every version of Node.
function onlyGzip(): Plugin {
  let dir = '';
  return {
    name: 'only-gzip',
    apply: 'build',
    configResolved: (config) => {
      dir = config.build.outDir;
    },
    closeBundle: async () => {
      for (const entry of readdirSync(dir, { recursive: true, withFileTypes: true })) {
        if (!entry.isFile()) continue;
        const file = join(entry.parentPath ?? entry.path, entry.name);
        writeFileSync(`${file}.gz`, await gzipAsync(readFileSync(file), { numiterations: 5 }));
        rmSync(file);
      }
    },
  };
}

const source = (file: string) => fileURLToPath(new URL(file, import.meta.url));

export default defineConfig({
  base: './', // so that a proxy may put the console below any path
  esbuild: { jsx: 'automatic', jsxImportSource: 'preact', legalComments: 'none' },
  resolve: { alias: { 'lru-cache': source('src/lru.ts') } },
  build: {
    outDir: source('dist'),
    minify: 'terser',
    terserOptions: { ecma: 2020, module: true, compress: { passes: 3, pure_getters: true, unsafe_arrows: true, keep_fargs: false, hoist_props: true }, format: { comments: false } },
    emptyOutDir: true,
    assetsDir: 'console',
    assetsInlineLimit: 0,
    target: 'es2022',
    modulePreload: false,
    reportCompressedSize: false,
    rollupOptions: {
      output: {
        entryFileNames: 'console/[name]-[hash].js',
        chunkFileNames: 'console/[name]-[hash].js',
        assetFileNames: 'console/[name]-[hash][extname]',
      },
    },
  },
  plugins: [onlyGzip()],
  server: { proxy: Object.fromEntries(['/api', '/metrics', '/-'].map((path) => [path, process.env.YAGURA ?? 'http://127.0.0.1:9248'])) },
});
