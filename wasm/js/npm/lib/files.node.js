import { readFile } from 'node:fs/promises';

import { proofBy } from './files.js';

/** What proves an application by a file. */
export const fileProof = proofBy((path) => readFile(path, 'utf8'));
