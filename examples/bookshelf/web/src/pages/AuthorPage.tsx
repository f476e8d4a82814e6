import { useQuery } from '@tanstack/react-query'
import { BookGrid } from '../parts/BookGrid.js'
import { Loaded } from '../parts/Loaded.js'
import { author } from '../queries.js'

export function AuthorPage({ id }: { id: number }) {
  return (
    <Loaded query={useQuery(author(id))}>
      {author => (
        <>
          <div className="head">
            <h1>{author.name}</h1>
          </div>
          <BookGrid books={author.list} empty="No book of theirs is here." />
        </>
      )}
    </Loaded>
  )
}
