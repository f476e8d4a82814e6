import type { ComponentChildren, JSX } from 'preact'
import { useRef, useState } from 'preact/hooks'
import { useKeys } from '../keys.js'

export interface Column<T> {
  readonly id: string
  readonly title: string
  /** What rows are sorted by; a column without it is not sorted by. */
  readonly value?: (row: T) => string | number
  readonly cell: (row: T) => ComponentChildren
  /** Numbers stand at the right, and are sorted downwards first. */
  readonly number?: boolean
  /** Takes the room that is left. */
  readonly wide?: boolean
  /** Left out on a narrow screen. */
  readonly minor?: boolean
}

interface TableProps<T> {
  readonly label: string
  readonly columns: readonly Column<T>[]
  readonly rows: readonly T[]
  readonly rowKey: (row: T) => string
  /** A column's id, with `-` before it for the other direction. Left out, rows stay as they are. */
  readonly sort?: string
  readonly onSort?: (sort: string) => void
  readonly onOpen?: (row: T) => void
  readonly opened?: string | undefined
  readonly most?: number
  readonly empty: ComponentChildren
}

/** Rows of the same kind. j and k move, Enter opens, a click on a title sorts. */
export function Table<T>(props: TableProps<T>): JSX.Element {
  const { columns, rowKey, sort = '', onSort, onOpen } = props
  const [here, setHere] = useState<string | undefined>()
  const body = useRef<HTMLTableSectionElement>(null)
  const rows = sorted(props.rows, columns, sort).slice(0, props.most)
  const move = (by: number) => {
    if (!rows.length) return false
    const at = rows.findIndex(row => rowKey(row) === here)
    const to = Math.min(rows.length - 1, Math.max(0, at < 0 ? 0 : at + by))
    const row = rows[to]
    if (row === undefined) return false
    setHere(rowKey(row))
    if (props.opened !== undefined) onOpen?.(row)
    body.current?.children[to]?.scrollIntoView({ block: 'nearest' })
  }
  const open = () => {
    const row = rows.find(each => rowKey(each) === here)
    return row !== undefined && onOpen ? onOpen(row) : false
  }
  useKeys({ j: () => move(1), k: () => move(-1), ArrowDown: () => move(1), ArrowUp: () => move(-1), Enter: open })

  return (
    <div class="card table-card">
      <table aria-label={props.label}>
        <thead>
          <tr>
            {columns.map(column => (
              <Title key={column.id} column={column} sort={sort} onSort={onSort} />
            ))}
          </tr>
        </thead>
        <tbody ref={body}>
          {rows.map(row => {
            const key = rowKey(row)
            return (
              <tr
                key={key}
                class={`${key === here ? 'here' : ''}${key === props.opened ? ' opened' : ''}${onOpen ? ' opens' : ''}`}
                onClick={() => {
                  setHere(key)
                  onOpen?.(row)
                }}
              >
                {columns.map(column => (
                  <td key={column.id} class={classes(column)}>
                    {column.cell(row)}
                  </td>
                ))}
              </tr>
            )
          })}
        </tbody>
      </table>
      {rows.length === 0 && props.empty}
    </div>
  )
}

function Title<T>(props: {
  column: Column<T>
  sort: string
  onSort: ((sort: string) => void) | undefined
}): JSX.Element {
  const { column, sort, onSort } = props
  const by = sort.replace(/^-/, '') === column.id
  const turned = sort.startsWith('-')
  const up = Boolean(column.number) === turned
  if (!column.value || !onSort)
    return (
      <th scope="col" class={classes(column)}>
        {column.title || <span class="off-screen">Action</span>}
      </th>
    )
  return (
    <th scope="col" class={classes(column)} aria-sort={by ? (up ? 'ascending' : 'descending') : 'none'}>
      <button type="button" class="sorter" onClick={() => onSort(by && !turned ? `-${column.id}` : column.id)}>
        {column.title}
        <span class="arrow" aria-hidden="true">
          {by ? (up ? '↑' : '↓') : ''}
        </span>
      </button>
    </th>
  )
}

function classes<T>(column: Column<T>): string {
  return [column.number && 'number', column.wide && 'wide', column.minor && 'minor', `col-${column.id}`]
    .filter(Boolean)
    .join(' ')
}

/** The rows in the order of a column; equal ones stay in their order. */
export function sorted<T>(rows: readonly T[], columns: readonly Column<T>[], sort: string): readonly T[] {
  const column = columns.find(({ id }) => id === sort.replace(/^-/, ''))
  const read = column?.value
  if (!read) return rows
  const way = Boolean(column.number) === sort.startsWith('-') ? 1 : -1
  return rows.toSorted((a, b) => {
    const [left, right] = [read(a), read(b)]
    return left === right ? 0 : (left < right ? -1 : 1) * way
  })
}
