import { type RefObject, useInsertionEffect, useRef } from 'react'

/** The newest value, for what runs later. Insertion effects come before all others, and don't run on a server. */
export function useNewest<Value>(value: Value): RefObject<Value> {
  const newest = useRef(value)
  useInsertionEffect(() => {
    newest.current = value
  })
  return newest
}
