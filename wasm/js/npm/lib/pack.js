const encoder = new TextEncoder();

const bytesOf = (arg) => {
  if (typeof arg === 'string') return encoder.encode(arg);
  if (arg instanceof Uint8Array) return arg;
  if (typeof arg === 'bigint' || (typeof arg === 'number' && Number.isFinite(arg))) {
    return encoder.encode(String(arg));
  }
  const what = typeof arg === 'number' ? arg : typeof arg;
  throw new TypeError(`an argument is a string, a number or a Uint8Array, not ${what}`);
};

/** Commands in one piece of memory: counts and lengths in four bytes each, little end first. */
export const pack = (commands) => {
  const encoded = commands.map((args) => args.map(bytesOf));
  const length = encoded.flat().reduce((sum, arg) => sum + 4 + arg.length, 4 * encoded.length);
  const packed = new Uint8Array(length);
  const view = new DataView(packed.buffer);
  let at = 0;
  const number = (value) => {
    view.setUint32(at, value, true);
    at += 4;
  };
  for (const args of encoded) {
    number(args.length);
    for (const arg of args) {
      number(arg.length);
      packed.set(arg, at);
      at += arg.length;
    }
  }
  return packed;
};
