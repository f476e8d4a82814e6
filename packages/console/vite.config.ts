import { fileURLToPath } from 'node:url'
import { defineConfig } from 'vite'

const path = (relative: string) => fileURLToPath(new URL(relative, import.meta.url))
const client = path('../client/src/')

export default defineConfig({
  base: '/console/',
  resolve: {
    // Built on the client's sources, so that its build need not come first.
    alias: [
      // Leaves out the client's SharedWorker and its code.
      { find: /^\.\/share\/index\.js$/, replacement: path('src/unshared.ts') },
      { find: /^@tidings\/client$/, replacement: `${client}index.ts` },
      { find: /^@tidings\/client\/(.*)$/, replacement: `${client}$1.ts` },
    ],
  },
  build: {
    assetsDir: 'assets',
    // The page's policy allows its own files alone: no data: URL, and no inline script that would preload modules.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
  },
  // `HUB=http://127.0.0.1:8090 npm run dev` works on a running hub.
  server: { proxy: { '/v1': process.env.HUB ?? 'http://127.0.0.1:8090' } },
})
