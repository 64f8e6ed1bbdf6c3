// How the page is built and served while developing. The output goes to dist/, which is committed: the Rust build embeds
// it and needs no Node. In development the API is the mock of mock/, or a real server if IMAGE_SEARCH_URL names one.
import { readFileSync } from 'node:fs';
import { svelte } from '@sveltejs/vite-plugin-svelte';
import { defineConfig } from 'vitest/config';
import type { Plugin } from 'vite';
import { createMock } from './mock/api.mjs';

const server = process.env.IMAGE_SEARCH_URL;

function mockApi(): Plugin {
  return {
    name: 'mock-api',
    configureServer(vite) {
      const mock = createMock();
      vite.middlewares.use((request, response, next) => {
        if (!mock(request, response)) next();
      });
    },
  };
}

/** The page names what it fetches later: browsers with time to spare fetch it, and the service worker keeps it. */
function nameLaterParts(): Plugin {
  return {
    name: 'name-later-parts',
    transformIndexHtml: {
      order: 'post',
      handler(_html, { bundle }) {
        const files = Object.keys(bundle ?? {}).filter((file) => /\/later-[^/]+\.(js|css)$/.test(file));
        return files.map((file) => ({ tag: 'link', attrs: { rel: 'prefetch', href: `/${file}`, as: file.endsWith('.js') ? 'script' : 'style' }, injectTo: 'head' }));
      },
    },
  };
}

/** The API's documentation at /docs: Swagger UI as it was published, of which it takes what it needs, and our page around it. */
function documentation(): Plugin {
  const ours = ['index.html', 'start.js'].map((name) => ({ name, from: `docs/${name}` }));
  const published = ['swagger-ui-bundle.js', 'swagger-ui-bundle.js.LICENSE.txt', 'swagger-ui.css'].map((name) => ({ name, from: `node_modules/swagger-ui-dist/${name}` }));
  return {
    name: 'documentation',
    generateBundle() {
      for (const { name, from } of [...ours, ...published]) {
        // What points to a map that is not here makes the browser's tools look for it.
        const source = readFileSync(from, 'utf8').replace(/^\/[/*]# sourceMappingURL=.*$/m, '');
        this.emitFile({ type: 'asset', fileName: `docs/${name}`, source });
      }
    },
  };
}

export default defineConfig({
  plugins: [svelte(), nameLaterParts(), documentation(), ...(server ? [] : [mockApi()])],
  server: server ? { proxy: { '/api': server, '/docs': server, '/openapi.json': server } } : {},
  build: {
    target: 'es2022',
    // Browsers since 2024: light-dark() and :has() stay as they are written.
    cssTarget: ['chrome123', 'firefox121', 'safari17.5'],
    // A strict Content-Security-Policy: everything is a file of its own.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
  },
  test: { include: ['src/**/*.test.ts'] },
});
