import { render } from 'preact'
import { App } from './app.js'
import { onKey } from './keys.js'
import './style/base.css'
import './style/frame.css'
import './style/parts.css'
import './style/charts.css'
import './style/forms.css'
import './style/lists.css'
import './style/tables.css'
import './style/overview.css'
import './style/jobs.css'
import './style/publish.css'
import './style/explain.css'
import './style/log.css'
import { apply } from './theme.js'

apply()
addEventListener('keydown', onKey)
const root = document.getElementById('app')
if (root) render(<App />, root)
