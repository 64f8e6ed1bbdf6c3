// Renders every drawing of concepts.json: 80 px premultiplied RGBA for training (WORK/raw/SET.bin + .json),
// and 128 px PNG on white for the demo (noto) and the evaluation (twemoji, noto, fluent-emoji, emojione): WORK/png/SET/ID.png.
// resvg aborts the whole process on a few malformed drawings, so each set runs in a child that is started again
// without the drawing that killed it.
import fs from 'node:fs'
import path from 'node:path'
import { createRequire } from 'node:module'
import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'

const [work, only] = process.argv.slice(2)
const SIZE = 80
const SETS = ['twemoji', 'noto', 'emojione', 'fluent-emoji', 'fluent-emoji-flat', 'fluent-emoji-high-contrast', 'noto-v1',
  'emojione-v1', 'openmoji', 'openmoji-thin', 'fxemoji', 'streamline-emojis', 'flag', 'circle-flags', 'flagpack']
const PNG = new Set(['twemoji', 'noto', 'fluent-emoji', 'emojione'])
const skipFile = set => path.join(work, 'raw', `${set}.skip.json`)
const current = set => path.join(work, 'raw', `${set}.current`)
const readSkip = set => fs.existsSync(skipFile(set)) ? JSON.parse(fs.readFileSync(skipFile(set))) : []

function renderSet (set) {
  const { Resvg } = createRequire(path.resolve(work, 'npm') + '/')('@resvg/resvg-js')
  const source = set === 'openmoji-thin' ? 'openmoji' : set
  const data = JSON.parse(fs.readFileSync(path.join(work, 'npm/node_modules/@iconify-json', source, 'icons.json')))
  const skip = new Set(readSkip(set))
  const ids = []; const pixels = []
  const render = (svg, w, h, size, background) => new Resvg(svg, {
    fitTo: { mode: w >= h ? 'width' : 'height', value: size }, font: { loadSystemFonts: false }, background
  }).render()
  for (const c of JSON.parse(fs.readFileSync(path.join(work, 'concepts.json')))) {
    const name = set === 'twemoji' ? c.unseen : c.drawings[source]
    if (!name || skip.has(name)) continue
    fs.writeFileSync(current(set), name)
    const alias = data.aliases?.[name]
    const icon = data.icons[name] ?? (alias && { ...data.icons[alias.parent], ...alias })
    if (!icon?.body) continue
    const w = icon.width ?? data.width ?? 16; const h = icon.height ?? data.height ?? 16
    // OpenMoji once more with thin lines: a second look of the same drawing.
    const body = set === 'openmoji-thin' ? icon.body.replaceAll('stroke-width="2"', 'stroke-width="0.8"') : icon.body
    const svg = `<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" viewBox="${icon.left ?? data.left ?? 0} ${icon.top ?? data.top ?? 0} ${w} ${h}" width="${w}" height="${h}" color="#000">${body}</svg>`
    const r = render(svg, w, h, SIZE); const out = Buffer.alloc(SIZE * SIZE * 4)
    const left = (SIZE - r.width) >> 1; const top = (SIZE - r.height) >> 1
    for (let y = 0; y < r.height; y++) r.pixels.copy(out, ((y + top) * SIZE + left) * 4, y * r.width * 4, (y + 1) * r.width * 4)
    ids.push(c.id); pixels.push(out)
    if (PNG.has(set)) {
      fs.mkdirSync(path.join(work, 'png', set), { recursive: true })
      fs.writeFileSync(path.join(work, 'png', set, `${c.id}.png`), render(svg, w, h, 128, '#ffffff').asPng())
    }
  }
  fs.writeFileSync(path.join(work, 'raw', `${set}.bin`), Buffer.concat(pixels))
  fs.writeFileSync(path.join(work, 'raw', `${set}.json`), JSON.stringify(ids))
  console.log(set, ids.length, 'drawings,', skip.size, 'unreadable')
}

if (only) renderSet(only)
else {
  fs.mkdirSync(path.join(work, 'raw'), { recursive: true })
  for (const set of SETS) {
    for (let attempt = 0; ; attempt++) {
      const child = spawnSync(process.execPath, [fileURLToPath(import.meta.url), work, set], { stdio: ['ignore', 'inherit', 'pipe'] })
      if (child.status === 0) break
      if (attempt === 40) throw new Error(`${set}: ${child.stderr}`)
      fs.writeFileSync(skipFile(set), JSON.stringify([...readSkip(set), fs.readFileSync(current(set), 'utf8')]))
    }
  }
}
