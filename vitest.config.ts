import { fileURLToPath } from 'node:url'
import { defineConfig } from 'vitest/config'

const source = (path: string) => fileURLToPath(new URL(`packages/${path}`, import.meta.url))

// The tests run on the sources, so that no build has to come first.
export default defineConfig({
  resolve: {
    alias: [
      { find: /^@tidings\/client$/, replacement: source('client/src/index.ts') },
      { find: /^@tidings\/client\/(.*)$/, replacement: source('client/src/$1.ts') },
      { find: /^@tidings\/react$/, replacement: source('react/src/index.ts') },
      { find: /^@tidings\/react\/(.*)$/, replacement: source('react/src/$1.ts') },
    ],
  },
  test: {
    include: ['packages/*/test/**/*.test.{ts,tsx}', 'examples/*/web/test/**/*.test.{ts,tsx}'],
    restoreMocks: true,
    // No claim about how fast anything is: a machine may stand still for a while.
    testTimeout: 60_000,
    hookTimeout: 60_000,
  },
})
