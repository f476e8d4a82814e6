import { defineConfig } from 'tsdown'

export default defineConfig({
  entry: ['src/index.ts', 'src/event-source.ts', 'src/jobs.ts', 'src/pending.ts', 'src/worker.ts'],
  format: 'esm',
  platform: 'neutral',
  target: 'es2022',
  dts: true,
  sourcemap: true,
})
