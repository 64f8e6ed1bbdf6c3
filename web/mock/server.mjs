// Serves the built page of dist/ with the mock API and the real server's Content-Security-Policy: `npm run mock`.
// PORT (default 3999) and MOCK_IMAGES may be set. Tests call `serve` with a mock of their own.
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { extname } from 'node:path';
import { pathToFileURL } from 'node:url';
import { createMock } from './api.mjs';

const POLICY = "default-src 'self'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";
const TYPES = { '.html': 'text/html; charset=utf-8', '.js': 'text/javascript', '.css': 'text/css', '.svg': 'image/svg+xml', '.png': 'image/png', '.webmanifest': 'application/manifest+json' };
const FILES = /^(index\.html|favicon\.svg|sw\.js|manifest\.webmanifest|(assets|icons)\/[\w.-]+)$/;

/** Listens on the loopback; port 0 takes any. */
export function serve(mock, port = 0, dist = new URL('../dist/', import.meta.url)) {
  const server = createServer(async (request, response) => {
    response.setHeader('Content-Security-Policy', POLICY);
    if (mock(request, response)) return;
    const path = new URL(request.url, 'http://localhost').pathname;
    const file = path === '/' || path === '/quality' ? 'index.html' : path.slice(1);
    try {
      if (!FILES.test(file)) throw new Error('not served');
      const bytes = await readFile(new URL(file, dist));
      response.writeHead(200, { 'Content-Type': TYPES[extname(file)] ?? 'application/octet-stream' }).end(bytes);
    } catch {
      response.writeHead(404).end();
    }
  });
  return new Promise((listening) => server.listen(port, '127.0.0.1', () => listening(server)));
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const server = await serve(createMock(), Number(process.env.PORT ?? 3999));
  console.log(`The page with the mock API: http://127.0.0.1:${server.address().port}`);
}
