import { onlyKnown } from './names.js';

// As Entra takes it (RFC 7518 section 3.5).
const PSS = { name: 'RSA-PSS', hash: 'SHA-256', saltLength: 32 };

const bytesOf = (text) => Uint8Array.from(text, (character) => character.charCodeAt(0));

/** What stands between the lines of PEM that `name` it, as far as it is base64. */
const blocks = (pem, name) =>
  [...pem.matchAll(new RegExp(`-----BEGIN ${name}-----([^-]*)-----END ${name}-----`, 'g'))].flatMap(([, text]) => {
    try {
      return [atob(text)];
    } catch {
      return [];
    }
  });

// PFX, or a key in another form than PKCS#8: it is not half of what is wanted.
const OTHER = /^0\uFFFD|-----BEGIN (ENCRYPTED|RSA|EC) PRIVATE KEY-----/;

/** An error that the rest of a file may heal, or the other one of two files. */
const half = (pem, message) => Object.assign(new Error(message), { isHalf: !OTHER.test(pem) });

/** The modulus of an RSA key in PKCS#8 (RFC 5958 section 2, RFC 8017 appendix A.1.2), so that the key needn't be
 * one that can be exported. */
const modulusOf = (der) => {
  let at = 0;
  const into = () => {
    at += 1;
    let length = der.charCodeAt(at++);
    if (length > 127) {
      const start = at;
      at += length - 128;
      length = [...der.slice(start, at)].reduce((sum, byte) => sum * 256 + byte.charCodeAt(0), 0);
    }
    return at + length;
  };
  const over = () => {
    at = into();
  };
  // A version and the algorithm.
  into();
  over();
  over();
  // The key, with a version of its own.
  into();
  into();
  over();
  const end = into();
  return der.slice(at, end).replace(/^\0/, '');
};

/** What an application proves itself with: the SHA-256 of its certificate, and what signs with its key. */
const proof = (thumbprint, sign) => ({ thumbprint, sign, nonce: crypto.getRandomValues(new Uint8Array(16)) });

const readKey = async (pem) => {
  const [key] = blocks(pem, 'PRIVATE KEY');
  const certificates = blocks(pem, 'CERTIFICATE');
  if (!certificates.length) {
    throw half(pem, 'there is no certificate in it: give PEM with certificate and private key');
  }
  if (!key) {
    throw half(
      pem,
      'there is no private key in it that can be used: give PKCS#8 in PEM that is not encrypted, ' +
        'as `openssl pkcs8 -topk8 -nodes` makes it',
    );
  }
  const der = bytesOf(key);
  const imported = crypto.subtle.importKey('pkcs8', der, PSS, false, ['sign']).finally(() => der.fill(0));
  const rsa = await imported.catch((cause) => {
    throw new Error('the private key is no RSA key, and Entra takes no other one', { cause });
  });
  const modulus = modulusOf(key);
  // A chain may lie there in any order.
  const certificate = certificates.find((der) => der.includes(modulus));
  if (!certificate) throw half(pem, 'the private key belongs to none of its certificates');
  const thumbprint = await crypto.subtle.digest('SHA-256', bytesOf(certificate));
  const sign = async (data) => new Uint8Array(await crypto.subtle.sign(PSS, rsa, data));
  return proof(new Uint8Array(thumbprint), sign);
};

/** The proof of the certificate and key in `pem`, which is from `place`. Half of it is an error of the `kind`. */
export const certificateKey = async (pem, place, kind = 'configuration') => {
  try {
    return await readKey(pem);
  } catch (error) {
    const known = { kind: error.isHalf ? kind : 'configuration' };
    throw Object.assign(new Error(`${place}: ${error.message}`), known);
  }
};

/** The same with a key that is elsewhere, anew for each token. */
export const keyOf = (certificate) => {
  const { thumbprint, sign } = onlyKnown(certificate, ['thumbprint', 'sign'], 'a part of certificate');
  if (!thumbprint && !sign) {
    throw new TypeError('certificate is PEM, as text or a Uint8Array, or { thumbprint, sign }');
  }
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
