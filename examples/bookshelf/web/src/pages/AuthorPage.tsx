import { useQuery } from '@tanstack/react-query'
import { BookGrid } from '../parts/BookGrid.js'
import { Heading } from '../parts/Heading.js'
import { Loaded } from '../parts/Loaded.js'
import { author } from '../queries.js'

export function AuthorPage({ id }: { id: number }) {
  return (
    <Loaded query={useQuery(author(id))}>
      {author => (
        <>
          <div className="head">
            <Heading>{author.name}</Heading>
          </div>
          <BookGrid books={author.list} empty="No book of theirs is here." />
        </>
      )}
    </Loaded>
  )
}
