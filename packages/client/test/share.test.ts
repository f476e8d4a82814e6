import { expect, test } from 'vitest'
import { Browser } from './fakes/browser.js'

const ways = [
  { sharing: 'worker', without: [] },
  { sharing: 'leader', without: ['worker'] },
] as const

for (const { sharing, without } of ways) {
  test(`pages of one browser hold one connection, and each hears what it wants (${sharing})`, async () => {
    const browser = new Browser({ without })
    const [books, authors, all] = [
      browser.open({ want: ['book/*'] }),
      browser.open({ want: ['author/*'] }),
      browser.open(),
    ]
    await browser.scheduler.pass(1_000)
    browser.log.publish('book/1')
    browser.log.publish('author/1')
    browser.log.publish('book/2')
    await browser.scheduler.pass(1_000)
    expect(browser.log.live).toHaveLength(1)
    expect(books.told).toEqual([1, 3])
    expect(authors.told).toEqual([2])
    expect(all.told).toEqual([1, 2, 3])
    expect([books, authors, all].map(page => page.connection?.status)).toEqual(['open', 'open', 'open'])
    expect([books, authors, all].flatMap(page => page.errors)).toEqual([])
  })
}
