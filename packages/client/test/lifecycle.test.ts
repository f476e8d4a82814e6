import { expect, it } from 'vitest'
import { watchPage } from '../src/lifecycle.js'
import { Page, world } from './world.js'

function watched() {
  const page = new Page()
  const told: string[] = []
  const stop = watchPage(world({ window: page.window, document: page.document }), {
    visible: visible => told.push(visible ? 'seen' : 'hidden'),
    back: () => told.push('back'),
  })
  return { page, told, stop }
}

it('tells when the page is seen and hidden, and when the network or the page is back', () => {
  const { page, told } = watched()
  page.show(false)
  page.show(true)
  page.online()
  page.restore()
  expect(told).toEqual(['hidden', 'seen', 'back', 'back'])
})

it('takes the loading of a page for no return', () => {
  const { page, told } = watched()
  page.window.dispatchEvent(new Event('pageshow'))
  expect(told).toEqual([])
})

it('tells nothing after it was ended', () => {
  const { page, told, stop } = watched()
  stop()
  page.show(false)
  page.online()
  page.restore()
  expect(told).toEqual([])
})

it('does nothing outside of a page', () => {
  expect(() => watchPage(world(), { visible: () => {}, back: () => {} })()).not.toThrow()
})
