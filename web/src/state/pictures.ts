// Pictures the user brought to search by, kept in memory while the page is open so that the back button works.
// Large ones are made smaller first: the model looks at a few hundred pixels, and a slow link should not carry more.

const SIDE_MAX = 1024;
const SEND_AS_IT_IS_BYTES_MAX = 1_500_000;

const kept = new Map<number, { picture: Blob; url: string }>();

export async function keepPicture(file: Blob): Promise<number> {
  const picture = await smaller(file);
  const id = Date.now();
  kept.set(id, { picture, url: URL.createObjectURL(picture) });
  return id;
}

export function pictureOf(id: number): Blob | null {
  return kept.get(id)?.picture ?? null;
}

export function pictureUrl(id: number): string | null {
  return kept.get(id)?.url ?? null;
}

async function smaller(file: Blob): Promise<Blob> {
  if (file.size <= SEND_AS_IT_IS_BYTES_MAX) return file;
  try {
    const bitmap = await createImageBitmap(file);
    const scale = Math.min(1, SIDE_MAX / Math.max(bitmap.width, bitmap.height));
    const canvas = document.createElement('canvas');
    canvas.width = Math.max(1, Math.round(bitmap.width * scale));
    canvas.height = Math.max(1, Math.round(bitmap.height * scale));
    const canvasContext = canvas.getContext('2d');
    if (!canvasContext) return file;
    // The server puts transparent pictures on white too; JPEG would make it black.
    canvasContext.fillStyle = '#fff';
    canvasContext.fillRect(0, 0, canvas.width, canvas.height);
    canvasContext.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
    bitmap.close();
    return await new Promise((resolve) => canvas.toBlob((blob) => resolve(blob ?? file), 'image/jpeg', 0.92));
  } catch {
    // A format this browser cannot read; the server may.
    return file;
  }
}
