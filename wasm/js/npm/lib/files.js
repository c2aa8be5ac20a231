import { certificateKey } from './certificate.js';
import { jwtIn } from './jwt.js';

// As Node and Deno call it.
const MISSING = ['ENOENT', 'NotFound'];
// As Deno calls it, where the process has no permission.
const REFUSED = 'NotCapable';

/** Proves an application by what is in a file, which `read` reads each time: it is replaced there. While that
 * happens, it may be missing, empty or half of it there. */
export const proofBy = (read) => async ({ isCertificate, path }) => {
  const text = await read(path).catch((cause) => {
    const passes = isCertificate ? cause.name !== REFUSED : [cause.code, cause.name].some((name) => MISSING.includes(name));
    const error = new Error(`can't read ${path}`, { cause });
    throw Object.assign(error, { kind: passes ? 'replication' : 'configuration' });
  });
  if (isCertificate) return certificateKey(text, path, 'replication');
  return { assertion: jwtIn(text, `${path} contains`, 'replication') };
};
