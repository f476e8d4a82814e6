// What `npm pack` makes of the packages, in the hands of somebody who begins a new app with Vite.
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { promisify } from 'node:util'
import { root } from './harness/hub.mjs'

const execute = promisify(execFile)
const versions = Object.entries({
  react: 'packages/react', 'react-dom': 'packages/react', '@tanstack/react-query': 'packages/react',
  '@types/react': 'packages/react', '@types/react-dom': 'packages/react', vite: '.', typescript: '.',
})

async function run(command, args, cwd) {
  try {
    return (await execute(command, args, { cwd, maxBuffer: 1 << 24 })).stdout
  } catch (error) {
    throw new Error(`${command} ${args.join(' ')}: ${error.stdout}${error.stderr}`)
  }
}

const page = `
import { createClient, TidingsError, type Client, type LiveEvent } from '@tidings/client'
import { EventSource } from '@tidings/client/event-source'
import { createJob, watchJob } from '@tidings/client/jobs'
import { createPending } from '@tidings/client/pending'
import { LiveProvider, useConnection, useLatest, useLiveEvents } from '@tidings/react'
import * as query from '@tidings/react/query'
import { createRoot } from 'react-dom/client'

interface Events { 'book.updated': { id: number; title: string } }
const live: Client<Events> = createClient<Events>({ topics: ['book/*'] })
live.on('book.updated', event => { const title: string = event.data.title; console.log(title) })
// @ts-expect-error there is no such event
live.on('book.updatd', () => {})
// @ts-expect-error and it has no such member
live.on('book.updated', event => event.data.author)

function Page() {
  useLiveEvents(['book.updated'], (event: LiveEvent) => console.log(event.name))
  return <p>{useConnection().status} {String(useLatest('book.updated')?.data)}</p>
}
createRoot(document.body).render(<LiveProvider client={live}><Page /></LiveProvider>)
console.log(EventSource, TidingsError, createJob, watchJob, createPending, Object.keys(query))
`

test('a new Vite app builds with the packed packages, and their types resolve there', { timeout: 900_000 }, async t => {
  const home = await mkdtemp(join(tmpdir(), 'tidings-packages-'))
  t.after(() => rm(home, { recursive: true, force: true }))
  const tarballs = {}
  for (const name of ['client', 'react']) {
    const [packed] = JSON.parse(await run('npm', ['pack', '--json', '--ignore-scripts', '--pack-destination', home], join(root, 'packages', name)))
    tarballs[`@tidings/${name}`] = `file:${join(home, packed.filename)}`
    const files = packed.files.map(file => file.path)
    assert.ok(files.includes('README.md') && files.includes('dist/index.js') && files.includes('dist/index.d.ts'), files.join(' '))
    assert.ok(files.every(file => /^(dist|src)\/|^(README\.md|package\.json|LICENSE.*)$/.test(file)), files.join(' '))
  }
  const app = join(home, 'app')
  await mkdir(join(app, 'src'), { recursive: true })
  const dependencies = { ...tarballs }
  for (const [name, from] of versions) {
    const manifest = JSON.parse(await readFile(join(root, from, 'package.json'), 'utf8'))
    dependencies[name] = manifest.devDependencies[name]
  }
  await writeFile(join(app, 'package.json'), JSON.stringify({ private: true, type: 'module', dependencies, overrides: tarballs }))
  await writeFile(join(app, 'index.html'), '<!doctype html><script type="module" src="/src/main.tsx"></script>')
  await writeFile(join(app, 'src/main.tsx'), page)
  await run('npm', ['install', '--prefer-offline', '--no-audit', '--no-fund', '--loglevel=error'], app)

  for (const [module, moduleResolution] of [['ESNext', 'bundler'], ['NodeNext', 'nodenext']]) {
    await writeFile(join(app, 'tsconfig.json'), JSON.stringify({
      compilerOptions: { target: 'ES2022', module, moduleResolution, strict: true, jsx: 'react-jsx', noEmit: true, types: [], lib: ['ES2022', 'DOM', 'DOM.Iterable'] },
      include: ['src'],
    }))
    await run('npx', ['tsc', '--noEmit'], app)
  }

  await run('npx', ['vite', 'build', '--logLevel', 'warn'], app)
  const assets = await readdir(join(app, 'dist/assets'))
  assert.ok(assets.some(name => /^worker-.*\.js$/.test(name)), `the SharedWorker is a file of its own: ${assets}`)
})
