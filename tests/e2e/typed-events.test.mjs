// What is made of the profiles' schemas, in the hands of others: the TypeScript compiler and a validator of AsyncAPI documents.
import test from 'node:test'
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Parser } from '@asyncapi/parser'
import { root, run } from './harness/hub.mjs'
import { PUBLISHER, startProfile } from './harness/profile.mjs'

const NAMES = ['bindery', 'redseat', 'silo', 'immich', 'bookstrack']

/** What clients of each profile write, right and wrong. */
const SAMPLES = {
  bindery: `
    export function title(event: LiveEvent): number {
      switch (event.name) {
        case 'book.updated': return event.data.id
        case 'queue.changed': return event.data.action === 'added' ? event.data.id : 0
        case 'author.refresh.progress': return event.data.done
        case 'download.progress': return event.data.id
        // @ts-expect-error There is no event of that name.
        case 'book.deleted': return 0
      }
    }
    export const wrong = (data: Events['queue.changed']) =>
      // @ts-expect-error An action is one of three.
      data.action === 'exploded'
    // @ts-expect-error There is no such member.
    export const missing = (data: Events['book.updated']) => data.titel
  `,
  redseat: `
    export function apply(event: LiveEvent): string[] {
      if (event.name !== 'medias') return []
      // @ts-expect-error The wire has the document's spelling.
      event.data.Medias.medias.filter(({ action }) => action === 'added')
      // @ts-expect-error The message is in its wrapper.
      event.data.library
      return event.data.Medias.medias.filter(({ action }) => action === 'Added').map(({ media }) => media?.id ?? '')
    }
  `,
  silo: `
    export const banner = (event: LiveEvent): string | undefined =>
      event.name === 'server.state' && event.data.mode !== 'normal' ? event.data.mode satisfies 'read-only' | 'degraded' : undefined
    // @ts-expect-error The server can't say that it is away.
    export const offline = (data: Events['server.state']) => data.mode === 'offline'
  `,
  immich: `
    import type { ServerToClientEvents } from './events.generated'
    export const listeners: Partial<ServerToClientEvents> = {
      on_asset_trash: ids => ids.map(id => id.length),
      on_config_update: () => {},
      on_new_release: ({ releaseVersion: { major, minor } }) => major + minor,
      // @ts-expect-error It is an id, no list.
      on_asset_delete: ids => ids.map((id: string) => id),
    }
    export const none = (event: LiveEvent): undefined => event.name === 'on_config_update' ? event.data : undefined
  `,
  bookstrack: `
    export function bar(event: LiveEvent): string | number | undefined {
      switch (event.name) {
        case 'progress': return event.data.status satisfies 'initialized' | 'processing'
        case 'completed': return event.data.books?.[0]?.title
        case 'failed': return event.data.error.message
        case 'job.item': return event.data.index
        case 'canceled': return event.data.progress
      }
    }
  `,
}

async function compile(files) {
  const tsc = spawn(process.execPath, [join(root, 'node_modules/typescript/bin/tsc'), '--noEmit', '--strict', '--target', 'es2022',
    '--module', 'esnext', '--moduleResolution', 'bundler', ...files], { stdio: ['ignore', 'pipe', 'pipe'] })
  let out = ''
  for (const stream of [tsc.stdout, tsc.stderr]) stream.setEncoding('utf8').on('data', text => { out += text })
  const [code] = await once(tsc, 'close')
  return { code, out }
}

async function folder(t) {
  const home = await mkdtemp(join(tmpdir(), 'tidings-types-'))
  t.after(() => rm(home, { recursive: true, force: true }))
  return home
}

for (const name of NAMES) {
  test(`${name}: the committed types tell its events apart, and refuse what is wrong`, async t => {
    const home = await folder(t)
    await writeFile(join(home, 'events.generated.ts'), await readFile(join(root, 'profiles', name, 'events.generated.ts')))
    const sample = `import type { Events, LiveEvent } from './events.generated'\nexport type All = Events\n${SAMPLES[name]}`
    await writeFile(join(home, 'sample.ts'), sample)
    const { code, out } = await compile([join(home, 'sample.ts')])
    assert.equal(code, 0, out)
  })

  test(`${name}: the committed AsyncAPI document is valid, and so is the one with a server`, async () => {
    const made = await run('asyncapi', '--profile', name, '--server', 'https://hub.example.org/live')
    assert.equal(made.code, 0, made.out)
    for (const text of [await readFile(join(root, 'profiles', name, 'asyncapi.json'), 'utf8'), made.out]) {
      const { document, diagnostics } = await new Parser().parse(text)
      // 0 is an error, 1 a warning; that there is a newer version of AsyncAPI is neither.
      assert.deepEqual(diagnostics.filter(({ severity }) => severity < 2).map(({ message, path }) => `${path.join('/')}: ${message}`), [])
      assert.ok(document.channels().all().length > 0)
      assert.ok(document.operations().all().length > 0)
    }
  })
}

test('every variant, every stream and what publishers send make types that compile', async t => {
  const home = await folder(t)
  const files = []
  const make = async (...args) => {
    const { code, out } = await run('types', ...args)
    assert.equal(code, 0, out)
    files.push(join(home, `${files.length}.ts`))
    await writeFile(files.at(-1), out)
  }
  for (const name of ['default', ...NAMES]) {
    await make('--profile', name)
    await make('--profile', name, '--published')
  }
  await make('--profile', 'redseat', '--variants', 'code')
  await make('--profile', 'redseat', '--mount', '/socket.io')
  await make('--profile', 'bookstrack', '--mount', '/ws/progress')
  await make('--profile', 'bookstrack', '--mount', '/ws/progress', '--variants', 'envelope')
  await make('--profile', 'bookstrack', '--mount', '/v3/jobs/scans/{job}/stream', '--variants', 'state-names')
  const { code, out } = await compile(files)
  assert.equal(code, 0, out)
})

test('what does not fit is refused with its place and index, alone, in a batch and as a signal, and nothing of it is told', async t => {
  const { hub } = await startProfile(t, 'redseat')
  const post = async events => {
    const response = await fetch(`${hub.url}/v1/publish?profile=redseat`, {
      method: 'POST', headers: { 'content-type': 'application/json', ...PUBLISHER }, body: JSON.stringify(events),
    })
    return { status: response.status, body: await response.json() }
  }
  const medias = action => ({ name: 'medias', data: { library: 'l1', medias: [{ action, media: { id: 'm1' } }] } })
  for (const events of [medias('SECRET'), { ...medias('SECRET'), signal: true }]) {
    const { status, body } = await post(events)
    assert.deepEqual([status, body.type, body.field, body.index], [422, 'urn:tidings:problem:schema', 'data/medias/0/action', 0])
    assert.doesNotMatch(JSON.stringify(body), /SECRET/)
  }
  const { status, body } = await post([medias('added'), medias('SECRET')])
  assert.deepEqual([status, body.index, body.published], [422, 1, 0])
  assert.equal((await post([medias('added'), medias('Deleted')])).status, 200)
})
