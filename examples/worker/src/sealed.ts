// A snapshot is a secret: what is kept outside of the Worker is encrypted, and noticed if changed.

const NONCE = 12;

const keyOf = (hex: string) => {
  const bytes = Uint8Array.from(hex.match(/../g) ?? [], (pair) => parseInt(pair, 16));
  return crypto.subtle.importKey('raw', bytes, 'AES-GCM', false, ['encrypt', 'decrypt']);
};

/** `bytes` under the key, 64 hexadecimal digits. */
export const seal = async (hex: string, bytes: Uint8Array<ArrayBuffer>) => {
  const iv = crypto.getRandomValues(new Uint8Array(NONCE));
  const sealed = await crypto.subtle.encrypt({ name: 'AES-GCM', iv }, await keyOf(hex), bytes);
  const all = new Uint8Array(NONCE + sealed.byteLength);
  all.set(iv);
  all.set(new Uint8Array(sealed), NONCE);
  return all;
};

/** What was sealed; nothing if it wasn't, or not with this key. */
export const unseal = async (hex: string, sealed: ArrayBuffer | null) => {
  if (!sealed) return undefined;
  const iv = new Uint8Array(sealed, 0, NONCE);
  const rest = new Uint8Array(sealed, NONCE);
  try {
    const key = await keyOf(hex);
    return new Uint8Array(await crypto.subtle.decrypt({ name: 'AES-GCM', iv }, key, rest));
  } catch {
    return undefined;
  }
};
