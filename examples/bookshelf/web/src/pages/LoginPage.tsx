import { useMutation, useQueryClient } from '@tanstack/react-query'
import { api } from '../api.js'
import { me } from '../queries.js'

export function LoginPage() {
  const queryClient = useQueryClient()
  const login = useMutation({
    mutationFn: (form: FormData) => api.post('auth/login', { name: form.get('name'), password: form.get('password') }),
    onSuccess: () => queryClient.invalidateQueries({ queryKey: me.queryKey }),
  })
  return (
    <form
      className="login"
      onSubmit={event => {
        event.preventDefault()
        login.mutate(new FormData(event.currentTarget))
      }}
    >
      <img src="/icon.svg" alt="" width="48" height="48" />
      <h1>Bookshelf</h1>
      <label>
        Name <input name="name" autoComplete="username" required />
      </label>
      <label>
        Password <input name="password" type="password" autoComplete="current-password" required />
      </label>
      <button type="submit" disabled={login.isPending}>
        Log in
      </button>
      {login.error && (
        <p role="alert" className="alert">
          {login.error.message}
        </p>
      )}
    </form>
  )
}
