// The held-out gallery: Twemoji's drawings of the demonstration's concepts, which no training step saw, as PNG of 128 pixels on white.
// usage: node render-held-out.mjs NPM_FOLDER LABELS OUT, where NPM_FOLDER has @iconify-json/twemoji and @resvg/resvg-js.
// resvg ends the whole process on a few drawings, so each batch runs in a child, and what ends it is left out.
import fs from 'node:fs'
import path from 'node:path'
import { createRequire } from 'node:module'
import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'

const [npm, labels, out, only] = process.argv.slice(2)
const stems = JSON.parse(fs.readFileSync(labels)).map(entry => path.basename(entry.file, '.png'))

function render (names) {
  const { Resvg } = createRequire(path.resolve(npm) + '/')('@resvg/resvg-js')
  const data = JSON.parse(fs.readFileSync(path.join(npm, 'node_modules/@iconify-json/twemoji/icons.json')))
  for (const name of names) {
    const icon = data.icons[name] ?? data.icons[data.aliases?.[name]?.parent]
    if (!icon?.body) continue
    const width = icon.width ?? data.width ?? 36; const height = icon.height ?? data.height ?? 36
    const svg = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}">${icon.body}</svg>`
    const drawn = new Resvg(svg, { fitTo: { mode: 'width', value: 128 }, font: { loadSystemFonts: false }, background: '#ffffff' }).render()
    fs.writeFileSync(path.join(out, `${name}.png`), drawn.asPng())
  }
}

if (only) render(JSON.parse(only))
else {
  fs.mkdirSync(out, { recursive: true })
  const run = names => spawnSync(process.execPath, [fileURLToPath(import.meta.url), npm, labels, out, JSON.stringify(names)], { stdio: ['ignore', 'inherit', 'ignore'] }).status === 0
  const halve = names => {
    if (run(names) || names.length < 2) return
    halve(names.slice(0, names.length >> 1)); halve(names.slice(names.length >> 1))
  }
  for (let at = 0; at < stems.length; at += 100) halve(stems.slice(at, at + 100))
  console.log(fs.readdirSync(out).length, 'of', stems.length, 'concepts drawn')
}
