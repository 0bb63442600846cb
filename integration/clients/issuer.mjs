// Issues a token of every algorithm with the npm package jose, and prints the
// tokens, the public keys as a JWK set and the secrets as one line of JSON.
//
//	node issuer.mjs CLAIMS
import { exportJWK, generateKeyPair, generateSecret, SignJWT } from "jose";

const claims = JSON.parse(process.argv[2]);
const result = { tokens: {}, secrets: {}, jwks: { keys: [] } };

const sign = (algorithm, key) =>
  new SignJWT(claims).setProtectedHeader({ alg: algorithm, typ: "JWT", kid: `kid of ${algorithm}` }).sign(key);

for (const algorithm of ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519"]) {
  const { publicKey, privateKey } = await generateKeyPair(algorithm, { extractable: true });
  result.jwks.keys.push({ ...(await exportJWK(publicKey)), kid: `kid of ${algorithm}`, alg: algorithm, use: "sig" });
  result.tokens[algorithm] = await sign(algorithm, privateKey);
}
for (const algorithm of ["HS256", "HS384", "HS512"]) {
  const secret = await generateSecret(algorithm, { extractable: true });
  result.secrets[algorithm] = await exportJWK(secret);
  result.tokens[algorithm] = await sign(algorithm, secret);
}
console.log(JSON.stringify(result));
