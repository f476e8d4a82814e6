/** Grants as somebody types them: separated by commas, or a JSON array where one has a comma in it. */

export function readGrants(text: string): string[] {
  if (text.trimStart().startsWith('[')) {
    try {
      const list: unknown = JSON.parse(text)
      if (Array.isArray(list) && list.every(grant => typeof grant === 'string')) return list
    } catch {
      // A grant may begin with a bracket too.
    }
  }
  return text
    .split(',')
    .map(grant => grant.trim())
    .filter(Boolean)
}

/** Text that is read as these grants, and as no others. */
export function writeGrants(grants: readonly string[]): string {
  const text = grants.join(', ')
  const read = readGrants(text)
  const isSame = read.length === grants.length && read.every((grant, index) => grant === grants[index])
  return isSame ? text : JSON.stringify(grants)
}
