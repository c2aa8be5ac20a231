import { certificateKey } from './certificate.js';

const JWT = /^[\w-]+\.[\w-]+\.[\w-]+$/;

// As Node and Deno call it.
const MISSING = ['ENOENT', 'NotFound'];

/** Proves an application by what is in a file, which `read` reads each time: it is replaced there. */
export const proofBy = (read) => async ({ isCertificate, path }) => {
  const text = await read(path).catch((cause) => {
    // While a token is replaced, its file may be missing or empty for a moment.
    const passes = !isCertificate && [cause.code, cause.name].some((name) => MISSING.includes(name));
    const error = new Error(`can't read ${path}`, { cause });
    throw Object.assign(error, { kind: passes ? 'transient' : 'configuration' });
  });
  if (isCertificate) return certificateKey(text, path);
  const assertion = text.trim();
  // Nothing else is sent to Entra.
  if (!JWT.test(assertion)) throw new Error(`${path} contains no JWT`);
  return { assertion };
};
