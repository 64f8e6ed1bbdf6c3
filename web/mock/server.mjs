// Serves the built page of dist/ with the mock API and the real server's Content-Security-Policy: `npm run mock`.
// PORT (default 3999) and MOCK_IMAGES may be set.
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { extname } from 'node:path';
import { createMock } from './api.mjs';

const POLICY = "default-src 'self'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";
const TYPES = { '.html': 'text/html; charset=utf-8', '.js': 'text/javascript', '.css': 'text/css', '.svg': 'image/svg+xml' };

const mock = createMock();
const port = Number(process.env.PORT ?? 3999);

createServer(async (request, response) => {
  response.setHeader('Content-Security-Policy', POLICY);
  if (mock(request, response)) return;
  const path = new URL(request.url, 'http://localhost').pathname;
  const file = path === '/' ? 'index.html' : path.slice(1);
  try {
    if (!/^(index\.html|favicon\.svg|assets\/[\w.-]+)$/.test(file)) throw new Error('not served');
    const bytes = await readFile(new URL(`../dist/${file}`, import.meta.url));
    response.writeHead(200, { 'Content-Type': TYPES[extname(file)] ?? 'application/octet-stream' }).end(bytes);
  } catch {
    response.writeHead(404).end();
  }
}).listen(port, '127.0.0.1', () => console.log(`The page with the mock API: http://127.0.0.1:${port}`));
