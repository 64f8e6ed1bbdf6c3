// Lets the page open without a network, where the browser and the server can: only over https or on this machine.

export async function keepPageOffline() {
  if (!import.meta.env.PROD || !window.isSecureContext || !('serviceWorker' in navigator)) return;
  try {
    // Not every server has the file, and browsers complain loudly about one that is missing.
    const { ok, headers } = await fetch('/sw.js', { method: 'HEAD' });
    if (ok && headers.get('Content-Type')?.includes('javascript')) await navigator.serviceWorker.register('/sw.js');
  } catch {
    // Without a network there is nothing to register either.
  }
}
