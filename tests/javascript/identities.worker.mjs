// The checks of identities in a Worker: it answers with what they say.

import { checkAll } from './identities.mjs';

export default {
  async fetch() {
    const lines = [];
    const said = await checkAll((line) => lines.push(line)).then(() => 'done', (error) => error.stack);
    return new Response([...lines, said, ''].join('\n'));
  },
};
