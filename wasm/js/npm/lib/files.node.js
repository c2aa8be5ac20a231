import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';

import { proofBy } from './files.js';

/** What proves an application by a file. */
export const fileProof = proofBy((path) => readFile(path, 'utf8'));

/** Whether there is a file. */
export const hasFile = existsSync;
