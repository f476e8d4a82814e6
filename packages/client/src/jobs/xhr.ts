/** `fetch` by an XMLHttpRequest, as far as an upload needs it: it tells how much was sent (XMLHttpRequest standard §3.4). */
export function byXhr(Xhr: typeof XMLHttpRequest, onProgress: (fraction: number) => void): typeof fetch {
  return (input, init = {}) =>
    new Promise((resolve, reject) => {
      const { method = 'GET', headers, body, credentials, signal } = init
      const request = new Xhr()
      const abort = (): void => request.abort()
      request.open(method, String(input))
      request.responseType = 'text'
      request.withCredentials = credentials === 'include'
      new Headers(headers).forEach((value, name) => {
        request.setRequestHeader(name, value)
      })
      request.upload.onprogress = ({ lengthComputable, loaded, total }) => {
        if (lengthComputable && total > 0) onProgress(loaded / total)
      }
      request.onload = () => resolve(responseOf(request))
      request.onerror = () => reject(new TypeError('the upload failed on its way'))
      request.onabort = () => reject(new DOMException('the upload was aborted', 'AbortError'))
      request.onloadend = () => signal?.removeEventListener('abort', abort)
      signal?.addEventListener('abort', abort)
      if (signal?.aborted) reject(new DOMException('the upload was aborted', 'AbortError'))
      else request.send(body as XMLHttpRequestBodyInit)
    })
}

function responseOf(request: XMLHttpRequest): Response {
  const headers = new Headers()
  for (const line of request.getAllResponseHeaders().split('\r\n')) {
    const colon = line.indexOf(':')
    if (colon > 0) headers.append(line.slice(0, colon), line.slice(colon + 1).trim())
  }
  const hasNone = [204, 205, 304].includes(request.status)
  return new Response(hasNone ? null : request.responseText, { status: request.status, headers })
}
