import { fileURLToPath } from 'node:url'
import { rolldown } from 'rolldown'
import { expect, test } from 'vitest'

const source = (path: string) => fileURLToPath(new URL(`../src/${path}`, import.meta.url))

/** What a bundler makes of a script that imports this for nothing but its effect. */
async function bundled(path: string): Promise<string> {
  const made = await rolldown({
    input: 'entry',
    platform: 'browser',
    logLevel: 'silent',
    plugins: [
      {
        name: 'entry',
        resolveId: id => (id === 'entry' ? id : undefined),
        load: id => (id === 'entry' ? `import ${JSON.stringify(source(path))}` : undefined),
      },
    ],
  })
  const { output } = await made.generate({ format: 'esm' })
  await made.close()
  return output[0].code
}

test('a worker script of one’s own that imports the worker keeps it: what has effects is not dropped', async () => {
  expect(await bundled('worker.ts')).toContain('onconnect')
})

test('what is imported and not used is dropped', async () => {
  expect((await bundled('index.ts')).replace(/^\/\/.*$/gm, '').trim()).toBe('')
})
