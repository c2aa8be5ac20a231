import { proofBy } from './files.js';

/** What proves an application by a file. */
export const fileProof = proofBy((path) => Deno.readTextFile(path));
