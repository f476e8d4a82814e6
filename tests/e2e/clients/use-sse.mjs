// The React hook that the media server's own documentation shows, with its types taken off and its ends (React's hooks and the
// source of EventSource) handed in. Otherwise as it is printed there.
export function useSse({ useState, useEffect }, EventSource, options = {}) {
  const [isConnected, setIsConnected] = useState(false)
  const [error, setError] = useState(null)

  useEffect(() => {
    const params = new URLSearchParams()
    if (options.libraries?.length) {
      params.set('libraries', options.libraries.join(','))
    }

    const url = `/sse${params.toString() ? '?' + params.toString() : ''}`
    const eventSource = new EventSource(url)

    eventSource.onopen = () => {
      setIsConnected(true)
      setError(null)
    }

    eventSource.onerror = (err) => {
      setError(err)
      if (eventSource.readyState === EventSource.CLOSED) {
        setIsConnected(false)
      }
    }

    // Subscribe to all event types
    const eventTypes = [
      'library', 'library-status', 'medias', 'upload_progress',
      'convert_progress', 'episodes', 'series', 'movies',
      'people', 'tags', 'backups', 'backups-files', 'media_progress',
      'media_rating',
    ]

    eventTypes.forEach(eventName => {
      eventSource.addEventListener(eventName, (event) => {
        const data = JSON.parse(event.data)
        options.onEvent?.(eventName, data)
      })
    })

    return () => {
      eventSource.close()
    }
  }, [options.libraries?.join(',')])

  return { isConnected, error }
}

/** What of React the hook needs: state by place, and an effect that runs again when what it depends on changed. */
export function memory() {
  const cells = []
  let place = 0, ran = 0
  const cell = first => { const at = place++; return cells[at] ??= first() }
  return {
    useState(initial) {
      const state = cell(() => ({ value: initial }))
      return [state.value, value => { state.value = value }]
    },
    useEffect(effect, on) {
      const state = cell(() => ({}))
      if (state.on && state.on.every((value, index) => Object.is(value, on[index]))) return
      state.end?.()
      state.on = on
      state.end = effect()
      ran++
    },
    render(component) { place = 0; return component() },
    unmount() { for (const state of cells) state.end?.() },
    effects: () => ran,
  }
}
