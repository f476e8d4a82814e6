// A small .epub (EPUB 3.3 OCF): a zip of stored files with an OPF package and a cover.
import { crc32, deflateSync } from 'node:zlib'

/** The bytes of a book with this title and author, and a cover of one colour. */
export function epub({ title, author, colour = [15, 118, 110] }) {
  const escape = text => text.replace(/[&<>]/g, sign => `&#${sign.charCodeAt(0)};`)
  return zip({
    mimetype: 'application/epub+zip',
    'META-INF/container.xml': `<?xml version="1.0"?><container version="1.0" xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles><rootfile full-path="OEBPS/content.opf" media-type="application/oebps-package+xml"/></rootfiles></container>`,
    'OEBPS/content.opf': `<?xml version="1.0"?><package xmlns="http://www.idpf.org/2007/opf" version="3.0" unique-identifier="id"><metadata xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:identifier id="id">urn:x:${escape(title)}</dc:identifier><dc:title>${escape(title)}</dc:title><dc:creator>${escape(author)}</dc:creator><dc:language>en</dc:language></metadata><manifest><item id="cover" href="cover.png" media-type="image/png" properties="cover-image"/><item id="text" href="text.xhtml" media-type="application/xhtml+xml"/></manifest><spine><itemref idref="text"/></spine></package>`,
    'OEBPS/text.xhtml': '<html xmlns="http://www.w3.org/1999/xhtml"><body><p>Once.</p></body></html>',
    'OEBPS/cover.png': png(40, 60, colour),
  })
}

/** A PNG of one colour that darkens downwards, with a light band (PNG 3rd edition §5). */
function png(width, height, colour) {
  const row = line => {
    const shade = line > height * 0.62 && line < height * 0.66 ? 1.9 : 1 - line / height / 2.5
    const pixel = Buffer.from(colour.map(part => Math.min(255, Math.round(part * shade))))
    return Buffer.concat([Buffer.from([0]), ...Array.from({ length: width }, () => pixel)])
  }
  const head = Buffer.alloc(13)
  head.writeUInt32BE(width, 0)
  head.writeUInt32BE(height, 4)
  head.set([8, 2, 0, 0, 0], 8)
  const chunk = (type, data) => {
    const body = Buffer.concat([Buffer.from(type), data])
    const length = Buffer.alloc(4)
    length.writeUInt32BE(data.length)
    const sum = Buffer.alloc(4)
    sum.writeUInt32BE(crc32(body))
    return Buffer.concat([length, body, sum])
  }
  const pixels = deflateSync(Buffer.concat(Array.from({ length: height }, (_, line) => row(line))))
  return Buffer.concat([Buffer.from('89504e470d0a1a0a', 'hex'), chunk('IHDR', head), chunk('IDAT', pixels), chunk('IEND', Buffer.alloc(0))])
}

/** A zip of stored entries (APPNOTE 6.3 §4.3). */
export function zip(files) {
  const locals = [], directory = []
  let at = 0
  for (const [name, content] of Object.entries(files)) {
    const data = Buffer.from(content), path = Buffer.from(name)
    const common = Buffer.alloc(26)
    common.writeUInt16LE(20, 0)
    common.writeUInt32LE(crc32(data), 10)
    common.writeUInt32LE(data.length, 14)
    common.writeUInt32LE(data.length, 18)
    common.writeUInt16LE(path.length, 22)
    const local = Buffer.concat([Buffer.from('504b0304', 'hex'), common, path, data])
    const tail = Buffer.alloc(14)
    tail.writeUInt32LE(at, 10)
    directory.push(Buffer.concat([Buffer.from('504b01021400', 'hex'), common, tail, path]))
    locals.push(local)
    at += local.length
  }
  const central = Buffer.concat(directory)
  const end = Buffer.alloc(22)
  end.write('504b0506', 0, 'hex')
  end.writeUInt16LE(directory.length, 8)
  end.writeUInt16LE(directory.length, 10)
  end.writeUInt32LE(central.length, 12)
  end.writeUInt32LE(at, 16)
  return Buffer.concat([...locals, central, end])
}
