import net from 'node:net';
import { Duplex } from 'node:stream';
import tls from 'node:tls';

// They mean that the connection broke; all else in the middle of TLS means TLS.
const BROKEN = ['ECONNRESET', 'EPIPE', 'ETIMEDOUT', 'ERR_STREAM_PREMATURE_CLOSE'];

/** Connects by TCP and, unless `plain`, TLS with a verified server. */
export const connectNode =
  ({ plain = false, ca, tls: more } = {}) =>
  ({ address, port, serverName, signal, begins }) =>
    new Promise((resolve, reject) => {
      const tcp = { host: address, port };
      // Names only: RFC 6066 section 3 has no addresses.
      const servername = net.isIP(serverName) ? undefined : serverName;
      const checkServerIdentity = (_, certificate) =>
        tls.checkServerIdentity(serverName, certificate);
      const socket = plain
        ? net.connect(tcp)
        : tls.connect({ ...more, ...tcp, ca: ca ?? more?.ca, servername, checkServerIdentity, rejectUnauthorized: true });
      begins?.(net.isIP(address) ? 'tcp' : 'name');
      socket.once('lookup', () => begins?.('tcp'));
      let reached = false;
      const failed = (error) => {
        socket.destroy();
        if (reached && !BROKEN.includes(error.code)) error.kind ??= 'tls';
        reject(error);
      };
      signal?.addEventListener('abort', () => socket.destroy(new Error('given up')), { once: true });
      socket.once('error', failed);
      socket.once('connect', () => {
        reached = true;
        if (!plain) begins?.('tls');
        socket.setNoDelay(true);
        socket.setKeepAlive(true, 30_000);
      });
      socket.once(plain ? 'connect' : 'secureConnect', () => {
        socket.off('error', failed);
        // Who reads or writes hears of it.
        socket.on('error', () => {});
        const { readable, writable } = Duplex.toWeb(socket);
        resolve({ readable, writable, close: () => void socket.destroy() });
      });
    });
