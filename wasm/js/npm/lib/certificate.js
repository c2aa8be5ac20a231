import { onlyKnown } from './names.js';

// As Entra takes it (RFC 7518 section 3.5).
const PSS = { name: 'RSA-PSS', hash: 'SHA-256', saltLength: 32 };

const bytesOf = (text) => Uint8Array.from(text, (character) => character.charCodeAt(0));

/** What stands between the lines of PEM that `name` it. */
const blocks = (pem, name) =>
  [...pem.matchAll(new RegExp(`-----BEGIN ${name}-----([^-]*)-----END ${name}-----`, 'g'))].map(([, text]) => atob(text));

/** What an application proves itself with: the SHA-256 of its certificate, and what signs with its key. */
const proof = (thumbprint, sign) => ({ thumbprint, sign, nonce: crypto.getRandomValues(new Uint8Array(16)) });

const readKey = async (pem) => {
  const [key] = blocks(pem, 'PRIVATE KEY');
  const certificates = blocks(pem, 'CERTIFICATE');
  if (!certificates.length) throw new Error('there is no certificate in it: give PEM with certificate and private key');
  if (!key) {
    throw new Error(
      'there is no private key in it that can be used: give PKCS#8 in PEM that is not encrypted, ' +
        'as `openssl pkcs8 -topk8 -nodes` makes it',
    );
  }
  const imported = crypto.subtle.importKey('pkcs8', bytesOf(key), PSS, true, ['sign']);
  const rsa = await imported.catch((cause) => {
    throw new Error('the private key is no RSA key, and Entra takes no other one', { cause });
  });
  const { n } = await crypto.subtle.exportKey('jwk', rsa);
  const modulus = atob(n.replaceAll('-', '+').replaceAll('_', '/'));
  // A chain may lie there in any order.
  const certificate = certificates.find((der) => der.includes(modulus));
  if (!certificate) throw new Error('the private key belongs to none of its certificates');
  const thumbprint = await crypto.subtle.digest('SHA-256', bytesOf(certificate));
  const sign = async (data) => new Uint8Array(await crypto.subtle.sign(PSS, rsa, data));
  return proof(new Uint8Array(thumbprint), sign);
};

/** The proof of the certificate and key in `pem`, which is from `place`. */
export const certificateKey = async (pem, place) => {
  try {
    return await readKey(pem);
  } catch (error) {
    throw Object.assign(new Error(`${place}: ${error.message}`), { kind: 'configuration' });
  }
};

/** The same with a key that is elsewhere, anew for each token. */
export const keyOf = (certificate) => {
  const { thumbprint, sign } = onlyKnown(certificate, ['thumbprint', 'sign'], 'a part of certificate');
  const digest =
    typeof thumbprint === 'string'
      ? Uint8Array.from(thumbprint.match(/[\da-f]{2}/gi) ?? [], (pair) => parseInt(pair, 16))
      : thumbprint;
  if (!(digest instanceof Uint8Array && digest.length === 32)) {
    throw new TypeError('certificate.thumbprint is the SHA-256 of the certificate in DER: 32 bytes, or in hexadecimal');
  }
  if (typeof sign !== 'function') throw new TypeError('certificate.sign is a function');
  const signed = async (data, options) => {
    const signature = await sign(data, options);
    const bytes = signature instanceof ArrayBuffer ? new Uint8Array(signature) : signature;
    if (bytes instanceof Uint8Array && bytes.length) return bytes;
    throw Object.assign(new Error('certificate.sign() gave no signature: a Uint8Array'), { kind: 'configuration' });
  };
  return () => proof(digest, signed);
};
