// The subject in Workers: the path is a port of this machine, which sends lines and gets the answers.
// All within one request, since no other could use the connections.

import { connect } from 'cloudflare:sockets';

import { lines } from './lines.mjs';
import { answer } from './subject.mjs';

export default {
  async fetch(request) {
    const port = Number(new URL(request.url).pathname.slice(1));
    const socket = connect({ hostname: '127.0.0.1', port }, { secureTransport: 'off' });
    const [encoder, writer] = [new TextEncoder(), socket.writable.getWriter()];
    for await (const line of lines(socket.readable)) {
      await writer.write(encoder.encode(`${await answer(line)}\n`));
    }
    return new Response('done\n');
  },
};
