// The client that the media server's own documentation shows, with its types taken off and its two ends (the source of
// EventSource and where events go) handed in. Otherwise as it is printed there: fourteen names, and a reconnect of its
// own when EventSource gives up.
export class SseClient {
  eventSource = null
  reconnectAttempts = 0
  maxReconnectAttempts = 5
  baseDelay = 1000

  constructor(EventSource, onEvent) {
    this.EventSource = EventSource
    this.onEvent = onEvent
  }

  connect(url) {
    this.eventSource = new this.EventSource(url)

    this.eventSource.onopen = () => {
      this.reconnectAttempts = 0
    }

    this.eventSource.onerror = () => {
      // EventSource auto-reconnects, but you can add custom logic
      if (this.eventSource?.readyState === this.EventSource.CLOSED) {
        this.handleReconnect(url)
      }
    }

    this.setupEventListeners()
  }

  handleReconnect(url) {
    if (this.reconnectAttempts >= this.maxReconnectAttempts) {
      return
    }
    const delay = this.baseDelay * Math.pow(2, this.reconnectAttempts)
    this.reconnectAttempts++
    setTimeout(() => this.connect(url), delay)
  }

  setupEventListeners() {
    if (!this.eventSource) return

    const events = [
      'library', 'library-status', 'medias', 'upload_progress',
      'convert_progress', 'episodes', 'series', 'movies',
      'people', 'tags', 'backups', 'backups-files', 'media_progress',
      'media_rating',
    ]

    events.forEach(eventName => {
      this.eventSource.addEventListener(eventName, event => {
        this.handleEvent(eventName, JSON.parse(event.data))
      })
    })
  }

  handleEvent(eventName, data) {
    this.onEvent(eventName, data)
  }

  disconnect() {
    this.eventSource?.close()
    this.eventSource = null
  }
}
