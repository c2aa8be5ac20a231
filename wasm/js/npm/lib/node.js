import dns from 'node:dns';
import net from 'node:net';
import { Duplex } from 'node:stream';
import tls from 'node:tls';

import { onlyKnown } from './names.js';

// Node's own quarter of a second is less than a far server takes, or a busy loop.
const ATTEMPT = 2_500;

// They mean that the connection broke; all else in the middle of TLS means TLS.
const BROKEN = ['ECONNRESET', 'EPIPE', 'ETIMEDOUT', 'ERR_STREAM_PREMATURE_CLOSE'];

/** Looks a name up, and turns its addresses by so many places. */
const turned = (lookup, turn) => (name, options, done) =>
  lookup(name, { ...options, all: true }, (error, found, family) => {
    if (error || !Array.isArray(found) || !found.length) return done(error, found, family);
    const at = turn % found.length;
    const [first, ...others] = [...found.slice(at), ...found.slice(0, at)];
    return options.all ? done(null, [first, ...others]) : done(null, first.address, first.family);
  });

/** Connects by TCP and, unless `plain`, TLS with a verified server. */
export const connectNode = (options = {}) => {
  const { plain = false, ca, tls: more } = onlyKnown(options, ['plain', 'ca', 'tls']);
  return ({ address, port, serverName, turn, signal, begins }) =>
    new Promise((resolve, reject) => {
      const tcp = { autoSelectFamilyAttemptTimeout: ATTEMPT, ...more, host: address, port };
      if (turn) tcp.lookup = turned(more?.lookup ?? dns.lookup, turn);
      // Names only: RFC 6066 section 3 has no addresses.
      const servername = net.isIP(serverName) ? undefined : serverName;
      const checkServerIdentity = (_, certificate) =>
        tls.checkServerIdentity(serverName, certificate);
      const socket = plain
        ? net.connect(tcp)
        : tls.connect({ ...tcp, ca: ca ?? more?.ca, servername, checkServerIdentity, rejectUnauthorized: true });
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
        const { remoteAddress } = socket;
        resolve({ readable, writable, remoteAddress, close: () => void socket.destroy() });
      });
    });
};
