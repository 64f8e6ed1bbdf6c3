// Fails when the page's scripts weigh more than they may over the wire, so that it stays quick on a slow link: those that the
// first screen waits for, all of that page together, and those that only the report at /quality has.
import { readdirSync, readFileSync } from 'node:fs';
import { gzipSync } from 'node:zlib';

const FIRST_SCREEN_GZIP_BYTES_MAX = 55_000;
const ALL_GZIP_BYTES_MAX = 75_000;
const REPORT_GZIP_BYTES_MAX = 11_000;

const dist = new URL('dist/', import.meta.url);
const page = readFileSync(new URL('index.html', dist), 'utf8');
const names = readdirSync(new URL('assets/', dist)).map((name) => `assets/${name}`);
const files = names.map((name) => ({ name, gzip: gzipSync(readFileSync(new URL(name, dist)), { level: 9 }).length }));
for (const { name, gzip } of files) console.log(`${String(gzip).padStart(7)} bytes gzip  ${name}`);

const isReport = ({ name }) => name.includes('/Quality-');
const scripts = files.filter(({ name }) => name.endsWith('.js'));
const isFirst = ({ name }) => new RegExp(`(src|rel="modulepreload"[^>]*href)="/${name}"`).test(page);
const sum = (some) => some.reduce((bytes, { gzip }) => bytes + gzip, 0);
const [first, report] = [sum(scripts.filter(isFirst)), sum(scripts.filter(isReport))];
const all = sum(scripts) - report;
console.log(`${String(first).padStart(7)} bytes gzip of script for the first screen; at most ${FIRST_SCREEN_GZIP_BYTES_MAX}`);
console.log(`${String(all).padStart(7)} bytes gzip of script in all; at most ${ALL_GZIP_BYTES_MAX}`);
console.log(`${String(report).padStart(7)} bytes gzip of script for the report; at most ${REPORT_GZIP_BYTES_MAX}`);
if (report === 0 || report > REPORT_GZIP_BYTES_MAX) process.exit(1);
if (first === 0 || first > FIRST_SCREEN_GZIP_BYTES_MAX || all > ALL_GZIP_BYTES_MAX) process.exit(1);
