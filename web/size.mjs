// Fails when the page's scripts weigh more than they may over the wire, so that it stays quick on a slow link.
import { readdirSync, readFileSync } from 'node:fs';
import { gzipSync } from 'node:zlib';

const SCRIPT_GZIP_BYTES_MAX = 60_000;

const assets = new URL('dist/assets/', import.meta.url);
const files = readdirSync(assets).map((name) => ({ name, gzip: gzipSync(readFileSync(new URL(name, assets)), { level: 9 }).length }));
for (const { name, gzip } of files) console.log(`${String(gzip).padStart(7)} bytes gzip  ${name}`);

const script = files.filter(({ name }) => name.endsWith('.js')).reduce((sum, { gzip }) => sum + gzip, 0);
console.log(`${String(script).padStart(7)} bytes gzip of script; at most ${SCRIPT_GZIP_BYTES_MAX}`);
if (script === 0 || script > SCRIPT_GZIP_BYTES_MAX) process.exit(1);
