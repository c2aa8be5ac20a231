/** Connects through `connect` of `cloudflare:sockets`, which verifies the server's name by the host
 * that it dials: the address is not apart from it here. */
export const connectWorkers =
  (connect, { plain = false } = {}) =>
  async ({ address, port, serverName, signal }) => {
    if (address !== serverName) {
      const error = new Error(`Workers verify the name that they dial: ${address} is not ${serverName}`);
      throw Object.assign(error, { kind: 'host' });
    }
    const secureTransport = plain ? 'off' : 'on';
    const socket = connect({ hostname: address, port }, { secureTransport, allowHalfOpen: false });
    socket.closed.catch(() => {});
    signal?.addEventListener('abort', () => socket.close().catch(() => {}), { once: true });
    await socket.opened;
    return { readable: socket.readable, writable: socket.writable, close: () => socket.close() };
  };
