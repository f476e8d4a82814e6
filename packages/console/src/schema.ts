/** What a JSON Schema says to whoever writes data by hand: the members, and an example. The hub judges. */

export interface Member {
  readonly name: string
  readonly type: string
  readonly required: boolean
  readonly description: string | undefined
}

type Schema = Record<string, unknown>

function isSchema(value: unknown): value is Schema {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** The members of an object's schema, the needed ones first. */
export function members(schema: unknown): Member[] {
  if (!isSchema(schema) || !isSchema(schema.properties)) return []
  const needed = Array.isArray(schema.required) ? schema.required : []
  const found = Object.entries(schema.properties).map(([name, property]) => ({
    name,
    type: typeName(property),
    required: needed.includes(name),
    description: isSchema(property) && typeof property.description === 'string' ? property.description : undefined,
  }))
  return found.sort((a, b) => Number(b.required) - Number(a.required))
}

function typeName(schema: unknown): string {
  if (!isSchema(schema)) return 'any'
  if (Array.isArray(schema.enum)) return schema.enum.map(value => JSON.stringify(value)).join(' | ')
  if ('const' in schema) return JSON.stringify(schema.const)
  const variants = [schema.oneOf, schema.anyOf].find(Array.isArray)
  if (variants) return variants.map(typeName).join(' | ')
  if (Array.isArray(schema.type)) return schema.type.join(' | ')
  if (schema.type === 'array') return `${typeName(schema.items)}[]`
  return typeof schema.type === 'string' ? schema.type : 'any'
}

/** Data that the schema would take, or nearly: a start to edit. `depth` bounds schemas that contain themselves. */
export function example(schema: unknown, depth = 6): unknown {
  if (!isSchema(schema) || depth === 0) return null
  if ('const' in schema) return schema.const
  if ('default' in schema) return schema.default
  if (Array.isArray(schema.examples) && schema.examples.length) return schema.examples[0]
  if (Array.isArray(schema.enum)) return schema.enum[0] ?? null
  const variants = [schema.oneOf, schema.anyOf].find(Array.isArray)
  if (variants) return example(variants[0], depth - 1)
  const type = Array.isArray(schema.type) ? schema.type[0] : schema.type
  if (type === 'object' || isSchema(schema.properties)) {
    const properties = isSchema(schema.properties) ? schema.properties : {}
    return Object.fromEntries(
      Object.entries(properties).map(([name, property]) => [name, example(property, depth - 1)]),
    )
  }
  if (type === 'array') return [example(schema.items, depth - 1)]
  if (type === 'string') return ''
  if (type === 'integer' || type === 'number') return typeof schema.minimum === 'number' ? schema.minimum : 0
  if (type === 'boolean') return false
  return null
}
