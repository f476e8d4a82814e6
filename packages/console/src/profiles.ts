import type { ProfileInfo } from './model.js'

/**
 * The profile to name with a publish. With one alone that is the one where none is said; before they are known, one that was asked for is
 * said all the same: what belongs to one must not get into another.
 */
export function profileToName(asked: string, profiles: readonly Pick<ProfileInfo, 'name'>[]): string | undefined {
  if (profiles.length === 0) return asked === 'default' ? undefined : asked
  if (profiles.length === 1) return undefined
  return profiles.find(({ name }) => name === asked)?.name ?? profiles[0]?.name ?? asked
}
