import { defineConfig } from 'vite'

// `npm run dev` serves the pages with reload, beside `cargo run -p tidings-example-bookshelf -- --demo`.
const app = process.env.BOOKSHELF ?? 'http://127.0.0.1:3000'

export default defineConfig({
  build: {
    target: 'es2022',
    sourcemap: true,
    rolldownOptions: {
      // Libraries say `"use client"` for frameworks that render on a server; here there is none.
      onwarn: (warning, warn) => warning.code === 'MODULE_LEVEL_DIRECTIVE' || warn(warning),
    },
  },
  server: { proxy: { '/api': { target: app, ws: true }, '/v1': { target: app, ws: true } } },
})
