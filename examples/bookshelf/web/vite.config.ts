import { defineConfig } from 'vite'

// `npm run dev` serves the pages with reload, beside `cargo run -p tidings-example-bookshelf -- --demo`.
const app = process.env.BOOKSHELF ?? 'http://127.0.0.1:3000'

export default defineConfig({
  build: { target: 'es2022', sourcemap: true },
  server: { proxy: { '/api': { target: app, ws: true }, '/v1': { target: app, ws: true } } },
})
