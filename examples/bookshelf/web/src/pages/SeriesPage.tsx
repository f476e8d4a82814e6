import { useQuery } from '@tanstack/react-query'
import { Link } from 'wouter'
import { BookGrid } from '../parts/BookGrid.js'
import { Heading } from '../parts/Heading.js'
import { Loaded } from '../parts/Loaded.js'
import { allSeries, oneSeries } from '../queries.js'

export function SeriesListPage() {
  return (
    <>
      <div className="head">
        <Heading>Series</Heading>
      </div>
      <Loaded query={useQuery(allSeries)}>
        {all => (
          <table>
            <thead>
              <tr>
                <th>Name</th>
                <th>Books</th>
              </tr>
            </thead>
            <tbody>
              {all.map(series => (
                <tr key={series.id} data-series={series.id}>
                  <td>
                    <Link href={`/series/${series.id}`}>{series.name}</Link>
                  </td>
                  <td>{series.books}</td>
                </tr>
              ))}
            </tbody>
          </table>
        )}
      </Loaded>
    </>
  )
}

export function SeriesPage({ id }: { id: number }) {
  return (
    <Loaded query={useQuery(oneSeries(id))}>
      {series => (
        <>
          <div className="head">
            <Heading>{series.name}</Heading>
          </div>
          <BookGrid books={series.list} empty="No book of it is here." />
        </>
      )}
    </Loaded>
  )
}
