import { proofBy } from './files.js';

/** What proves an application by a file. */
export const fileProof = proofBy((path) => Deno.readTextFile(path));

/** Whether there is a file. Nobody is asked for a permission to see that. */
export const hasFile = (path) => {
  if (Deno.permissions.querySync({ name: 'read', path }).state !== 'granted') return false;
  try {
    return !!Deno.statSync(path);
  } catch {
    return false;
  }
};
