import { onlyKnown } from './names.js';

/** Connects through `connect` of `cloudflare:sockets`, which verifies the server's name by the host
 * that it dials: the address is not apart from it here. Where a cluster redirects to an address, the
 * name is dialed with the port of that. */
export const connectWorkers = (connect, options = {}) => {
  const { plain = false } = onlyKnown(options, ['plain']);
  return async ({ address, port, serverName, redirected, signal }) => {
    if (address !== serverName && !redirected) {
      const error = new Error(`Workers verify the name that they dial: ${address} is not ${serverName}`);
      throw Object.assign(error, { kind: 'host' });
    }
    const secureTransport = plain ? 'off' : 'on';
    const socket = connect({ hostname: serverName, port }, { secureTransport, allowHalfOpen: false });
    socket.closed.catch(() => {});
    signal?.addEventListener('abort', () => socket.close().catch(() => {}), { once: true });
    await socket.opened;
    return { readable: socket.readable, writable: socket.writable, close: () => socket.close() };
  };
};
