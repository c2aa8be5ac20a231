/** What went wrong, and whether a command may have been executed. */
export class RedisError extends Error {
  constructor(message, code, kind, outcome, options) {
    super(message, options);
    this.name = 'RedisError';
    this.code = code;
    this.kind = kind;
    this.outcome = outcome;
  }

  /** What `JSON.stringify` shows: an error's own message is left out else. */
  toJSON() {
    const { name, message, code, kind, outcome } = this;
    return { name, message, code, kind, outcome };
  }
}

/** The error, with the frames of who waits here: it was made where nobody's were. */
export const withFrames = (error) => {
  if (error instanceof RedisError) Error.captureStackTrace?.(error, withFrames);
  return error;
};

const TLS =
  /^(CERT_|ERR_TLS_|ERR_SSL_|UNABLE_TO_|SELF_SIGNED|DEPTH_ZERO|HOSTNAME_|INVALID_|PATH_LENGTH|InvalidData$)/;
const NAME = /^(ENOTFOUND|EAI_)/;
const HOST = /^(EACCES|EPERM|NotCapable|PermissionDenied)/;

/** What an error of a host's network comes to, by the names that Node and Deno have for it. */
export const networkKind = (error) => {
  if (typeof error?.kind === 'string') return error.kind;
  // What `fetch` throws says only inside what it was; several addresses make for several errors.
  const inner = error?.cause ?? error;
  const code = String(inner?.code ?? inner?.errors?.[0]?.code ?? inner?.name ?? '');
  if (TLS.test(code) || /certificate/.test(inner?.message)) return 'tls';
  if (NAME.test(code)) return 'name';
  if (HOST.test(code)) return 'host';
  return 'unreachable';
};

const BROKEN = [
  [/^(ECONNRESET|EPIPE|ConnectionReset|BrokenPipe|ConnectionAborted)$/, 'reset'],
  [/^(ETIMEDOUT|TimedOut)$/, 'timed out'],
  [/^(ERR_STREAM_PREMATURE_CLOSE|UnexpectedEof)$/, 'truncated'],
  [/_ALERT_/, 'alert'],
  [/^(ERR_SSL_|InvalidData$)/, 'bad record'],
];

/** How a connection broke, by the names that Node and Deno have for it. */
export const breakKind = (error) => {
  const code = String(error?.code ?? error?.name ?? '');
  return BROKEN.find(([known]) => known.test(code))?.[1] ?? 'unknown';
};

/** What is said of an error, with what is inside it. */
const messageOf = (error) => {
  const message = String(error?.message ?? error);
  const inner = error?.cause ? [error.cause] : (error?.errors ?? []);
  // Each address has an error of its own, and what is around them has no words.
  const texts = inner.map((one) => one?.errors?.length ? messageOf(one) : one?.message);
  return [message, [...new Set(texts)].filter(Boolean).join('; ')].filter(Boolean).join(': ');
};

/** Anything that was thrown, as the module takes it. */
export const reasonOf = (error, kindOf) => {
  try {
    return { kind: kindOf(error), message: messageOf(error) };
  } catch {
    return { kind: 'unknown', message: 'what was thrown has no text' };
  }
};
