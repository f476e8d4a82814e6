/** What a page is about: its heading, and the title of the window (React puts it into the head). */
export function Heading({ children }: { children: string }) {
  return (
    <>
      <title>{`${children} · Bookshelf`}</title>
      <h1>{children}</h1>
    </>
  )
}
