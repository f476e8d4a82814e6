import { render } from 'preact'
import { App } from './app.js'
import { onKey } from './keys.js'
import './style/base.css'
import './style/frame.css'
import './style/parts.css'
import './style/views.css'
import { apply } from './theme.js'

apply()
addEventListener('keydown', onKey)
const root = document.getElementById('app')
if (root) render(<App />, root)
