// The checks of identities in Node and Deno.

import { say } from '#host';

import { checkAll } from './identities.mjs';

await checkAll(say);
say('done');
