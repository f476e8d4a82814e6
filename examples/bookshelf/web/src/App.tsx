import { useQuery } from '@tanstack/react-query'
import { Redirect, Route, Switch } from 'wouter'
import { ApiError } from './api.js'
import { Live } from './live.js'
import { AuthorPage } from './pages/AuthorPage.js'
import { AuthorsPage } from './pages/AuthorsPage.js'
import { BookPage } from './pages/BookPage.js'
import { BooksPage } from './pages/BooksPage.js'
import { ImportPage } from './pages/ImportPage.js'
import { LoginPage } from './pages/LoginPage.js'
import { QueuePage } from './pages/QueuePage.js'
import { SeriesListPage, SeriesPage } from './pages/SeriesPage.js'
import { WantedPage } from './pages/WantedPage.js'
import { Frame } from './parts/Frame.js'
import { Loaded } from './parts/Loaded.js'
import { me } from './queries.js'

export function App() {
  const user = useQuery(me)
  if (user.isPending) return null
  if (!user.data) {
    const isStranger = user.error instanceof ApiError && user.error.status === 401
    return isStranger ? <LoginPage /> : <Loaded query={user}>{() => null}</Loaded>
  }
  return (
    <Live user={user.data} cursor={user.data.cursor}>
      <Frame user={user.data}>
        <Switch>
          <Route path="/" component={BooksPage} />
          <Route path="/books/:id">{({ id }) => <BookPage id={Number(id)} />}</Route>
          <Route path="/authors" component={AuthorsPage} />
          <Route path="/authors/:id">{({ id }) => <AuthorPage id={Number(id)} />}</Route>
          <Route path="/series" component={SeriesListPage} />
          <Route path="/series/:id">{({ id }) => <SeriesPage id={Number(id)} />}</Route>
          <Route path="/wanted" component={WantedPage} />
          <Route path="/queue" component={QueuePage} />
          <Route path="/import" component={ImportPage} />
          <Route>
            <Redirect to="/" />
          </Route>
        </Switch>
      </Frame>
    </Live>
  )
}
