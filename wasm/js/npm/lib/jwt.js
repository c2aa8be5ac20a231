const JWT = /^[\w-]+\.[\w-]+\.[\w-]+$/;

/** The JWT that is all of `text`: nothing else is sent to Entra, and nothing else is shown. */
export const jwtIn = (text, said, kind) => {
  const jwt = typeof text === 'string' ? text.trim() : '';
  if (JWT.test(jwt)) return jwt;
  throw Object.assign(new Error(`${said} no JWT: three parts in base64url with dots between`), { kind });
};
