import { Holder } from './holder.js'
import { newName, type OpenWay } from './way.js'

/** This page has its own connection. */
export const ownWay: OpenWay = ({ member, settings, environment, open, options, token }) => {
  const holder = new Holder({
    id: newName(environment),
    settings,
    environment,
    open,
    options,
    tell: (_, message) => member.hear(message),
    broadcast: message => member.hear(message),
    token,
    ended: () => {},
  })
  member.join(newName(environment), undefined, message => holder.hear(message))
  holder.start()
  return {
    sharing: 'none',
    visible: visible => member.visible(visible),
    leave: () => {
      member.leave()
      holder.close()
    },
  }
}
