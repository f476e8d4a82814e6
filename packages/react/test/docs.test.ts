import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import ts from 'typescript'
import { describe, expect, it } from 'vitest'

const root = fileURLToPath(new URL('../../..', import.meta.url))
/** Examples are checked as if they lay here, where React and TanStack Query are found. */
const place = join(root, 'packages/react/test/examples')
const migrations = readdirSync(join(root, 'docs/migrate')).map(name => `docs/migrate/${name}`)
const pages = ['docs/client.md', ...migrations, 'packages/client/README.md', 'packages/react/README.md']

/** What the apps of the examples have anyway. */
const APP = `
import type {} from '@tidings/react'
declare global {
  interface Book { id: number; title: string }
  function show(data: unknown): void
  function draw(data: unknown): void
  function reload(): void
  function banner(status: string): void
  function fetchToken(): Promise<string>
  function fetchBooks(): Promise<Map<string, Book>>
  const file: File
  const user: { readonly id: string }
  const page: { readonly signal: AbortSignal; readonly cursor: string }
  function Pages(): import('react').ReactElement
  function Shelf(): import('react').ReactElement
  function render(what: unknown): void
  function act(run: () => unknown): void
}
export {}
`
/** What `tidings types` writes. */
const EVENTS = `
export interface Events {
  'book.updated': Book
  'book.deleted': { id: number }
}
`

interface Example {
  readonly name: string
  readonly file: string
  readonly code: string
}

/** The blocks that begin with an import, and are not marked as none that could be checked. */
function examplesOf(page: string): Example[] {
  const text = readFileSync(join(root, page), 'utf8')
  const blocks = [...text.matchAll(/(<!-- not checked -->\s*)?```(tsx?)\n([\s\S]*?)```/g)]
  return blocks.flatMap(([, skip, kind, code = ''], index) => {
    if (skip !== undefined || !code.startsWith('import')) return []
    const line = text.slice(0, blocks[index]?.index).split('\n').length
    const file = join(place, `${page.replaceAll(/[/.]/g, '-')}-${line}.${kind}`)
    return [{ name: `${page}:${line}`, file, code }]
  })
}

const options: ts.CompilerOptions = {
  target: ts.ScriptTarget.ES2022,
  module: ts.ModuleKind.ESNext,
  moduleResolution: ts.ModuleResolutionKind.Bundler,
  lib: ['lib.es2023.d.ts', 'lib.dom.d.ts', 'lib.dom.iterable.d.ts', 'lib.dom.asynciterable.d.ts'],
  jsx: ts.JsxEmit.ReactJSX,
  types: [],
  strict: true,
  exactOptionalPropertyTypes: true,
  noUncheckedIndexedAccess: true,
  skipLibCheck: true,
  noEmit: true,
  paths: {
    '@tidings/client': [join(root, 'packages/client/src/index.ts')],
    '@tidings/client/*': [join(root, 'packages/client/src/*')],
    '@tidings/react': [join(root, 'packages/react/src/index.ts')],
    '@tidings/react/*': [join(root, 'packages/react/src/*')],
  },
}

/** Says what the compiler has against these, each by the name of its file. */
function check(examples: readonly Example[]): string[] {
  const written = new Map([
    ...examples.map(({ file, code }) => [file, code] as const),
    [join(place, 'app.d.ts'), APP] as const,
    [join(place, 'events.ts'), EVENTS] as const,
  ])
  const host = ts.createCompilerHost(options)
  const { getSourceFile, readFile, fileExists } = host
  host.fileExists = path => written.has(path) || fileExists(path)
  host.directoryExists = path => path === place || existsSync(path)
  host.readFile = path => written.get(path) ?? readFile(path)
  host.getSourceFile = (path, target, ...rest) => {
    const code = written.get(path)
    return code === undefined ? getSourceFile(path, target, ...rest) : ts.createSourceFile(path, code, target)
  }
  const program = ts.createProgram([...written.keys()], options, host)
  return [...written.keys()].flatMap(path => {
    const file = program.getSourceFile(path)
    const found = file ? [...program.getSyntacticDiagnostics(file), ...program.getSemanticDiagnostics(file)] : []
    return found.map(({ messageText, start = 0 }) => {
      const line = (written.get(path) ?? '').slice(0, start).split('\n').length
      return `${relative(place, path)}, line ${line}: ${ts.flattenDiagnosticMessageText(messageText, ' ')}`
    })
  })
}

const examples = pages.flatMap(examplesOf)
/** What one registers counts for all of a program. */
const registering = examples.filter(({ code }) => code.includes('declare module'))
const others = examples.filter(example => !registering.includes(example))

describe('the examples of the pages', () => {
  it('are found, and a wrong one would be', () => {
    expect(examples.length).toBeGreaterThan(10)
    const wrong = {
      name: '',
      file: join(place, 'wrong.ts'),
      code: "import { createClient } from '@tidings/client'\ncreateClient({ urls: '' })",
    }
    expect(check([wrong])).toEqual([expect.stringMatching(/^wrong\.ts, line 2: .*'urls'/)])
  }, 120_000)

  it('compile', () => {
    expect(check(others)).toEqual([])
    for (const example of registering) expect(check([example])).toEqual([])
  }, 120_000)
})
